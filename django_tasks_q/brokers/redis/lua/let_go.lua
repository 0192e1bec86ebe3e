-- A delivery begins to run, and its message holds its key no longer than until then.
--
-- KEYS     the fourteen of the queue (keys.py)
-- ARGV     1 id  2 how its fence begins: life and number of the claim
-- Returns  nothing
-- Atomic: one script; done twice it does nothing. It begins with a write that Redis allows when it is out of memory.
--@ queue unique
local q = queue_at(1)
redis.call('SREM', q.waiters, '')
local claim = redis.call('HGET', q.claims, ARGV[1])
if claim and string.sub(claim, 1, #ARGV[2]) == ARGV[2] then
  give_up_key(q, ARGV[1])
end
