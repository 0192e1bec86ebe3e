-- Note queues where others find them, and tell of new ones on the channel that is called as their set.
--
-- KEYS     1 names of queues
-- ARGV     1 the command that publishes  2.. names
-- Returns  nothing
-- Atomic: one script; it begins with a write that Redis allows when it is out of memory.
redis.call('SREM', KEYS[1], '')
if redis.call('SADD', KEYS[1], unpack(ARGV, 2)) > 0 then
  redis.call(ARGV[1], KEYS[1], '')
end
