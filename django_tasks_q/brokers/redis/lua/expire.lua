-- Drop dead letters that died too long ago, the oldest first.
--
-- KEYS     the thirteen of the queue (keys.py)
-- ARGV     1 the journal's budget in bytes  2 how long they are kept, ms  3 most
-- Returns  how many were dropped
-- Atomic: one script; it begins with a write that Redis allows when it is out of memory.
--@ queue header journal lives withdraw
local q = queue_at(1)
redis.call('SREM', q.waiters, '')
local now = clock()
local before = string.format('(%.0f', (now - ARGV[2]) * 1000)
local ids = redis.call('ZRANGEBYSCORE', q.dead, '-inf', before, 'LIMIT', 0, ARGV[3])
withdraw(q, found_among(q, ids), now)
tell(q, tonumber(ARGV[1]))
return #ids
