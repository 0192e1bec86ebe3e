-- Workers whose lease ran out, or whose burial was interrupted.
--
-- KEYS     1 leases
-- Returns  their ids, at most 100
-- Reads only.
--@ queue
local now = clock()
return redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', string.format('(%.0f', now), 'LIMIT', 0, 100)
