-- Look at messages of one place, in the order in which they would run. Of what is in flight, at most 1,000 are looked
-- at to find those that were sent first.
--
-- KEYS     the thirteen of the queue (keys.py)
-- ARGV     1 place: ready, delayed, dead or claims  2 most
-- Returns  id, entry, ...
-- Reads only.
--@ queue header withdraw
local q, most = queue_at(1), tonumber(ARGV[2])
if ARGV[1] ~= 'claims' then
  return found_among(q, redis.call('ZRANGE', q[ARGV[1]], 0, most - 1))
end
local pairs_ = redis.call('HSCAN', q.claims, 0, 'COUNT', 1000)[2]
local found, order = found_among(q, ids_of(pairs_)), {}
for i = 1, #found, 2 do
  order[#order + 1] = {read_header(found[i + 1]).score, found[i], found[i + 1]}
end
table.sort(order, function(a, b) return a[1] < b[1] end)
local first = {}
for i = 1, math.min(most, #order) do
  first[2 * i - 1], first[2 * i] = order[i][2], order[i][3]
end
return first
