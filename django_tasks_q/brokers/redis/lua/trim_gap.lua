-- Forget a gap that was told; what was dropped since then remains one.
--
-- KEYS     the fourteen of the queue (keys.py)
-- ARGV     1 how many of its events were told  2 until when
-- Returns  nothing
-- Atomic: one script; it begins with a write that Redis allows when it is out of memory.
--@ queue
local q = queue_at(1)
redis.call('SREM', q.waiters, '')
local left = tonumber(redis.call('HGET', q.fill, 'dropped') or 0) - ARGV[1]
if left > 0 then
  redis.call('HSET', q.fill, 'dropped', left, 'since', ARGV[2])
else
  redis.call('HDEL', q.fill, 'dropped', 'since', 'until')
end
