-- Count events of an entry as a gap because their bytes cannot be read; the others of the entry go to the end.
--
-- KEYS     the fourteen of the queue (keys.py)
-- ARGV     1 the command that publishes  2 entry  3.. positions of the bad ones, from 1
-- Returns  nothing
-- Atomic: one script; done twice it does nothing. It begins with a write that Redis allows when it is out of memory.
--@ queue journal
local q = queue_at(1)
redis.call('SREM', q.waiters, '')
local entry = redis.call('XRANGE', q.journal, ARGV[2], ARGV[2])[1]
if not entry then
  return
end
local bad = {}
for i = 3, #ARGV do
  bad[tonumber(ARGV[i])] = true
end
local bytes, events = size_of(entry[2])
for i = 1, events do
  if not bad[i] then
    note(q, entry[2][2 * i])
  end
end
redis.call('XDEL', q.journal, ARGV[2])
note_gap(q, ARGV[2], #ARGV - 2)
count_off(q, bytes, events)
tell(q, 2 ^ 53, ARGV[1])
