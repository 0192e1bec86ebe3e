-- Drop the messages of these ids that wait, are delayed or dead, because somebody threw them away or called them off;
-- what runs is left alone.
--
-- KEYS     the fourteen of the queue (keys.py)
-- ARGV     1 the journal's budget in bytes  2 the command that publishes  3 their state from now on
--          4.. ids, at most 1,000
-- Returns  {how many of the ids it looked at: it stops when it has read enough, the ids that were dropped}
-- Atomic: one script; it begins with a write that Redis allows when it is out of memory.
--@ queue header journal lives unique withdraw
local q = queue_at(1)
redis.call('SREM', q.waiters, '')
local now = clock()
local asked = {unpack(ARGV, 4)}
local claims = redis.call('HMGET', q.claims, unpack(asked))
local idle, number = {}, {}
for i = 1, #asked do
  if not claims[i] then
    idle[#idle + 1] = asked[i]
    number[#idle] = i
  end
end
local gone, looked = found_among(q, idle)
withdraw(q, gone, now, ARGV[3])
tell(q, tonumber(ARGV[1]), ARGV[2])
return {looked < #idle and number[looked] or #asked, ids_of(gone)}
