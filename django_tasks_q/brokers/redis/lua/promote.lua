-- Make a batch of delayed messages ready whose time has come, for queues that nobody consumes from just now, and look
-- for those that must run alone.
--
-- KEYS     the fourteen of each queue (keys.py)
-- ARGV     1 the journal's budget in bytes  2 the command that publishes  3 most of each queue
-- Returns  for each queue 1 when messages wait there that must run alone, else 0
-- Atomic: one script; it begins with a write that Redis allows when it is out of memory.
--@ queue header journal wake promote
local now, suspects = nil, {}
for j = 1, #KEYS / 14 do
  local q = queue_at(14 * j - 13)
  redis.call('SREM', q.waiters, '')
  now = now or clock()
  if promote(q, now, tonumber(ARGV[3])) > 0 then
    wake(q, ARGV[2])
    tell(q, tonumber(ARGV[1]), ARGV[2])
  end
  suspects[j] = redis.call('EXISTS', q.suspects)
end
return suspects
