-- Let a worker exchange. A worker without this key is fenced.
--
-- KEYS     1 the worker's
-- Returns  nothing
-- Atomic: one script; it begins with a write that Redis allows when it is out of memory.
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'number', 0)
