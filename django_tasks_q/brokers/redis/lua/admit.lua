-- Let a worker exchange. A worker without this key is fenced. Until its first exchange the key goes by itself in an hour:
-- one that dies before its lease has begun is missed by nobody.
--
-- KEYS     1 the worker's
-- Returns  nothing
-- Atomic: one script; it begins with a write that Redis allows when it is out of memory.
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'number', 0)
redis.call('PEXPIRE', KEYS[1], 3600000)
