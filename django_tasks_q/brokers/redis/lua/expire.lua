-- Drop dead letters that died too long ago, the oldest first.
--
-- KEYS     the fourteen of the queue (keys.py)
-- ARGV     1 the journal's budget in bytes  2 the command that publishes  3 how long they are kept, ms  4 most
-- Returns  how many were dropped
-- Atomic: one script; it begins with a write that Redis allows when it is out of memory.
--@ queue header journal lives unique withdraw
local q = queue_at(1)
redis.call('SREM', q.waiters, '')
local now = clock()
local before = string.format('(%.0f', (now - ARGV[3]) * 1000)
local ids = redis.call('ZRANGEBYSCORE', q.dead, '-inf', before, 'LIMIT', 0, ARGV[4])
local dropped = #ids > 0 and drop_first(q, q.dead, ids, now) or 0
tell(q, tonumber(ARGV[1]), ARGV[2])
return dropped
