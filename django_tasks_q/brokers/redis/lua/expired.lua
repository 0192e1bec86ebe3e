-- Workers whose lease ran out, or whose burial was interrupted, and the queues that may hold what they had.
--
-- KEYS     1 leases  2 names of queues
-- Returns  {the workers' ids, at most 100; names of queues}
-- Reads only.
--@ queue
local now = clock()
local expired = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', string.format('(%.0f', now), 'LIMIT', 0, 100)
return {expired, redis.call('SMEMBERS', KEYS[2])}
