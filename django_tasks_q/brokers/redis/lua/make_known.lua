-- Note queues where others find them.
--
-- KEYS     1 names of queues
-- ARGV     names
-- Returns  nothing
-- Atomic: one script; it begins with a write that Redis allows when it is out of memory.
redis.call('SREM', KEYS[1], '')
redis.call('SADD', KEYS[1], unpack(ARGV))
