-- Send messages to one queue of which some take keys, all or none, and wake a worker that waits for them.
--
-- KEYS     the fourteen of the queue (keys.py)
-- ARGV     as enqueue.lua
-- Returns  {the store's time in ms, 1 when the journal is over half of its budget, 0 or the number of the message that
--          was refused, the id of who holds its key or '' when its id is known, what was left out: id, who holds its
--          key, ...}
-- Atomic: one script. Sending again after a lost answer: with mode 'repeat:'.
--@ queue header journal lives unique withdraw wake store conflicts
local q = queue_at(1)
local now = clock()
local items = {}
for first = 3, #ARGV, ITEM do
  items[#items + 1] = item_at(first)
  items[#items].number = #items
end
local fresh, refused = sift(q, items)
if refused then
  return {now, 0, refused, '', {}}
end
local admitted, left, holder = sift_keys(q, fresh, now, ARGV[1])
if not admitted then
  return {now, 0, left, holder, {}}
end
if #admitted > 0 then
  store(q, admitted, now, ARGV[1])
end
return {now, tell(q, tonumber(ARGV[2]), ARGV[1]), 0, '', left}
