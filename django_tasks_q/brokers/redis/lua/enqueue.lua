-- Send messages that take no keys to one queue, all or none, and wake a worker that waits for them; a single one is brought to it.
-- It begins with a write that Redis refuses when it is out of memory: then nothing has happened.
--
-- KEYS     the ten of the queue that sending needs (keys.py)
-- ARGV     1 the command that publishes  2 the journal's budget in bytes  3.. messages (store.lua)
-- Returns  {the store's time in ms, 1 when the journal is over half of its budget, 0 or the number of the message
--          that was refused because its id is known}
-- Atomic: one script. Sending again after a lost answer: with mode 'repeat:'.
--@ queue header journal wake store
local q = queue_at(1)
local now = clock()
local items = {}
for first = 3, #ARGV, ITEM do
  items[#items + 1] = item_at(first)
end
local fresh, refused = sift(q, items)
if refused then
  return {now, 0, refused}
end
if #fresh > 0 then
  store(q, fresh, now, ARGV[1])
end
return {now, tell(q, tonumber(ARGV[2]), ARGV[1]), 0}
