-- What a queue holds of these ids.
--
-- KEYS     the thirteen of the queue (keys.py)
-- ARGV     ids, at most 1,000
-- Returns  id, entry, place, when it is due or '', its claim or '', ... of those that are there
-- Reads only.
--@ queue
local q = queue_at(1)
local entries = redis.call('HMGET', q.messages, unpack(ARGV))
local claims = redis.call('HMGET', q.claims, unpack(ARGV))
local due = redis.call('ZMSCORE', q.delayed, unpack(ARGV))
local dead = redis.call('ZMSCORE', q.dead, unpack(ARGV))
local held = {}
for i = 1, #ARGV do
  if entries[i] then
    local place = claims[i] and 'in_flight' or due[i] and 'delayed' or dead[i] and 'dead' or 'ready'
    local at = #held
    held[at + 1], held[at + 2], held[at + 3] = ARGV[i], entries[i], place
    held[at + 4], held[at + 5] = due[i] or '', claims[i] or ''
  end
end
return held
