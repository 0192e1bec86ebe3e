-- Forget entries of a journal that were read.
--
-- KEYS     the fourteen of the queue (keys.py)
-- ARGV     1 first entry  2 last entry
-- Returns  nothing
-- Atomic: one script; it begins with a write that Redis allows when it is out of memory.
--@ queue journal
local q = queue_at(1)
redis.call('SREM', q.waiters, '')
local entries = redis.call('XRANGE', q.journal, ARGV[1], ARGV[2], 'COUNT', 1000)
if #entries == 0 then
  return
end
local ids, bytes, events = {}, 0, 0
for i = 1, #entries do
  local more_bytes, more_events = size_of(entries[i][2])
  ids[i], bytes, events = entries[i][1], bytes + more_bytes, events + more_events
end
redis.call('XDEL', q.journal, unpack(ids))
count_off(q, bytes, events)
