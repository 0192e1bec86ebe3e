-- What a queue holds of these ids.
--
-- KEYS     the fourteen of the queue (keys.py)
-- ARGV     ids, at most 1,000
-- Returns  {how many of the ids it looked at: it stops when it has read enough; id, entry, place, when it is due or '',
--          its claim or '', ... of those that are there}
-- Reads only.
--@ queue header withdraw
local q = queue_at(1)
local found, looked = found_among(q, ARGV)
local ids, held = ids_of(found), {}
if #ids > 0 then
  local claims = redis.call('HMGET', q.claims, unpack(ids))
  local due = redis.call('ZMSCORE', q.delayed, unpack(ids))
  local dead = redis.call('ZMSCORE', q.dead, unpack(ids))
  for i = 1, #ids do
    local place = claims[i] and 'in_flight' or due[i] and 'delayed' or dead[i] and 'dead' or 'ready'
    local at = #held
    held[at + 1], held[at + 2], held[at + 3] = ids[i], found[2 * i], place
    held[at + 4], held[at + 5] = due[i] or '', claims[i] or ''
  end
end
return {looked, held}
