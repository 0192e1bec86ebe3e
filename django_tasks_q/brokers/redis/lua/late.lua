-- Tell of attempts that ended after a burial had taken their messages away, each once.
--
-- KEYS     the fourteen of the queue (keys.py)
-- ARGV     1 the journal's budget in bytes  2 the command that publishes  3.. id, fence, event, ...
-- Returns  nothing
-- Atomic: one script; it begins with a write that Redis allows when it is out of memory.
--@ queue journal
local q = queue_at(1)
for i = 3, #ARGV, 3 do
  if redis.call('ZREM', q.taken, ARGV[i] .. ' ' .. ARGV[i + 1]) == 1 then
    note(q, ARGV[i + 2])
  end
end
tell(q, tonumber(ARGV[1]), ARGV[2])
