-- Drop the messages of these ids that wait, are delayed or dead; what runs is left alone.
--
-- KEYS     the thirteen of the queue (keys.py)
-- ARGV     1 the journal's budget in bytes  2.. ids, at most 1,000
-- Returns  the ids that were dropped
-- Atomic: one script; it begins with a write that Redis allows when it is out of memory.
--@ queue header journal lives withdraw
local q = queue_at(1)
redis.call('SREM', q.waiters, '')
local now = clock()
local asked = {unpack(ARGV, 2)}
local claims = redis.call('HMGET', q.claims, unpack(asked))
local idle = {}
for i = 1, #asked do
  if not claims[i] then
    idle[#idle + 1] = asked[i]
  end
end
local gone = found_among(q, idle)
withdraw(q, gone, now)
tell(q, tonumber(ARGV[1]))
return ids_of(gone)
