-- Renew leases; who was condemned or forgotten is not raised from the dead.
--
-- KEYS     1 leases
-- ARGV     1 lease in ms  2.. workers
-- Returns  nothing
-- Atomic: one script; it begins with a write that Redis allows when it is out of memory.
--@ queue
redis.call('ZREM', KEYS[1], '')
local now = clock()
for i = 2, #ARGV do
  if tonumber(redis.call('ZSCORE', KEYS[1], ARGV[i]) or 0) > 0 then
    redis.call('ZADD', KEYS[1], now + ARGV[1], ARGV[i])
  end
end
