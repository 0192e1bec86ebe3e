-- Send a message in the place of a dead letter, both or neither.
--
-- KEYS     the fourteen of the dead letter's queue, then the fourteen of the message's, which may be the same
-- ARGV     1 the command that publishes  2 the journal's budget in bytes  3 the dead letter  4.. the message (store.lua)
-- Returns  {the store's time in ms, 1 when it happened, 0 when there was no such dead letter, -1 when the message is
--          refused, the id of who holds its key or '' when its id is known}
-- Atomic: one script.
--@ queue header journal lives unique withdraw wake store conflicts
local old, new = queue_at(1), queue_at(15)
local now = clock()
local budget, item = tonumber(ARGV[2]), item_at(4)
if not redis.call('ZSCORE', old.dead, ARGV[3]) then
  return {now, 0, ''}
end
item.number = 1
local fresh = sift(new, {item})
if not fresh then
  return {now, -1, ''}
end
local admitted, _, holder = sift_keys(new, fresh, now, ARGV[1])
if not admitted then
  return {now, -1, holder}
end
store(new, admitted, now, ARGV[1])
withdraw(old, (found_among(old, {ARGV[3]})), now)
tell(new, budget, ARGV[1])
tell(old, budget, ARGV[1])
return {now, 1, ''}
