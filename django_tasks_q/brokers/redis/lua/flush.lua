-- Drop a batch of what waits in a queue, delayed and dead included.
--
-- KEYS     the fourteen of the queue (keys.py)
-- ARGV     1 the journal's budget in bytes  2 the command that publishes  3 most
-- Returns  how many were dropped; 0: there is nothing left
-- Atomic: one script; it begins with a write that Redis allows when it is out of memory.
--@ queue header journal lives unique withdraw
local q = queue_at(1)
redis.call('SREM', q.waiters, '')
local now = clock()
local last = ARGV[3] - 1
for _, line in ipairs({q.ready, q.suspects, q.delayed, q.dead}) do
  local ids = redis.call('ZRANGE', line, 0, last)
  if #ids > 0 then
    local dropped = drop_first(q, line, ids, now)
    tell(q, tonumber(ARGV[1]), ARGV[2])
    return dropped
  end
end
return 0
