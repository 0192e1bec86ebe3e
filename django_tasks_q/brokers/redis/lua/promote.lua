-- Make a batch of delayed messages ready whose time has come, for queues that nobody consumes from just now.
--
-- KEYS     the thirteen of the queue (keys.py)
-- ARGV     1 the journal's budget in bytes  2 the command that publishes  3 most
-- Returns  how many there were
-- Atomic: one script; it begins with a write that Redis allows when it is out of memory.
--@ queue header journal wake promote
local q = queue_at(1)
redis.call('SREM', q.waiters, '')
local now = clock()
local number = promote(q, now, tonumber(ARGV[3]))
if number > 0 then
  wake(q, ARGV[2])
  tell(q, tonumber(ARGV[1]))
end
return number
