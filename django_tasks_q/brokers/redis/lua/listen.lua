-- Ask to be woken when there is work in a queue, unless there is some now.
--
-- KEYS     the fourteen of the queue (keys.py)
-- ARGV     1 channel that wakes the worker
-- Returns  {1 when there is work, time in ms, when the next is due (-1: never)}
-- Atomic: one script; it begins with a write that Redis allows when it is out of memory.
--@ queue
local q = queue_at(1)
redis.call('SREM', q.waiters, ARGV[1])
local now = clock()
if redis.call('EXISTS', q.ready) == 1 then
  return {1, now, -1}
end
redis.call('SADD', q.waiters, ARGV[1])
local head = redis.call('ZRANGE', q.delayed, 0, 0, 'WITHSCORES')
return {0, now, head[2] and tonumber(head[2]) or -1}
