-- Look at messages of one place, in the order in which they would run. Of what is in flight, at most 1,000 are looked
-- at to find those that were sent first, or as many as are enough to read.
--
-- KEYS     the fourteen of the queue (keys.py)
-- ARGV     1 place: ready, delayed, dead or claims  2 how many to pass over (not of claims)  3 most
-- Returns  {how many it looked at: it stops when it has read enough; id, entry, ...}
-- Reads only.
--@ queue header withdraw
local q, over, most = queue_at(1), tonumber(ARGV[2]), tonumber(ARGV[3])
if ARGV[1] ~= 'claims' then
  local found, looked = found_among(q, redis.call('ZRANGE', q[ARGV[1]], over, over + most - 1))
  return {looked, found}
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
return {most, first}
