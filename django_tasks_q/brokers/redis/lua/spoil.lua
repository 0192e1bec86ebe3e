-- Count events of an entry as a gap because their bytes cannot be read; the others of the entry go to the end.
--
-- KEYS     the thirteen of the queue (keys.py)
-- ARGV     1 entry  2.. positions of the bad ones, from 1
-- Returns  nothing
-- Atomic: one script; done twice it does nothing. It begins with a write that Redis allows when it is out of memory.
--@ queue journal
local q = queue_at(1)
redis.call('SREM', q.waiters, '')
local entry = redis.call('XRANGE', q.journal, ARGV[1], ARGV[1])[1]
if not entry then
  return
end
local bad = {}
for i = 2, #ARGV do
  bad[tonumber(ARGV[i])] = true
end
local bytes, events = size_of(entry[2])
for i = 1, events do
  if not bad[i] then
    note(q, entry[2][2 * i])
  end
end
redis.call('XDEL', q.journal, ARGV[1])
note_gap(q, ARGV[1], #ARGV - 1)
count_off(q, bytes, events)
tell(q, 2 ^ 53)
