-- Renew leases; who was condemned or forgotten is not raised from the dead. Note queues as make_known.lua does.
--
-- KEYS     1 leases  2 names of queues
-- ARGV     1 the command that publishes  2 lease in ms  3 number of queues  4.. their names, then workers
-- Returns  the workers that have a lease
-- Atomic: one script; it begins with a write that Redis allows when it is out of memory.
--@ queue
redis.call('ZREM', KEYS[1], '')
local now, workers = clock(), 4 + ARGV[3]
local renewed = {}
for i = workers, #ARGV do
  if tonumber(redis.call('ZSCORE', KEYS[1], ARGV[i]) or 0) > 0 then
    redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[i])
    renewed[#renewed + 1] = ARGV[i]
  end
end
if workers > 4 and redis.call('SADD', KEYS[2], unpack(ARGV, 4, workers - 1)) > 0 then
  redis.call(ARGV[1], KEYS[2], '')
end
return renewed
