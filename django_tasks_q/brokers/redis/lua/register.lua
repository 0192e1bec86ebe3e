-- Begin a worker's lease, or look whether it still has one.
--
-- KEYS     1 leases
-- ARGV     1 worker  2 lease in ms; '': only look
-- Returns  1 when the worker has a lease now, else 0
-- Atomic: one script; it begins with a write that Redis allows when it is out of memory.
--@ queue
if ARGV[2] ~= '' then
  redis.call('ZREM', KEYS[1], ARGV[1])
  local now = clock()
  redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
end
return tonumber(redis.call('ZSCORE', KEYS[1], ARGV[1]) or 0) > 0 and 1 or 0
