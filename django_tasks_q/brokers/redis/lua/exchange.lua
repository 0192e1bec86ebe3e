-- Settle a batch, note what runs, send what it caused, promote what is due, and claim a new batch: one worker's turn.
-- It begins with a write that Redis allows when it is out of memory, which makes it allow all that follow.
--
-- KEYS     1 the worker's  then fourteen for each queue (keys.py)
-- ARGV     1 number of the exchange; 0: a burial settles in the worker's place
--          2 worker  3 channel that wakes it  4 room  5 let me be woken when there is nothing: '1', or '2': and
--          brought what is sent, for I run nothing
--          6 '1': suspects only  7 the journal's budget in bytes  8 the command that publishes  9 number of queues
--          10 number of the last exchange whose answer the worker has
--          then for each queue: share of the room (-1: not asked), finished, moved, started
--          then for each queue: what is finished, moved and started (settle.lua)
--          then for each message caused: queue number, ordinal of its settlement, the message (store.lua)
-- Returns  {1 when the worker is fenced, 2 when its last answer has been forgotten, time in ms, ordinals that were
--          refused, when the next is due (-1: never), numbers of queues whose journal is over half, claimed: queue
--          number, id, entry, ...; what was caused and left out: id, who holds its key, ...}
-- Atomic: one script. A number that was used last answers as it did then; a smaller one does nothing: a copy of a call
--          that arrives late must not claim for a worker that does not wait for its answer any more.
--@ queue header journal lives unique withdraw wake store conflicts settle promote claim
local number, worker, channel = tonumber(ARGV[1]), ARGV[2], ARGV[3]
local room, publish, budget = tonumber(ARGV[4]), ARGV[8], tonumber(ARGV[7])
local queues, shares, asked, parts = {}, {}, {}, {}
for j = 1, tonumber(ARGV[9]) do
  local first = 11 + (j - 1) * 4
  queues[j] = queue_at(2 + (j - 1) * 14)
  shares[j] = tonumber(ARGV[first])
  asked[j] = shares[j] >= 0
  parts[j] = {tonumber(ARGV[first + 1]), tonumber(ARGV[first + 2]), tonumber(ARGV[first + 3])}
end
if queues[1] then
  leave(queues[1], channel)
else
  redis.call('HDEL', KEYS[1], '')  -- none may be asked now; it hears whether it is fenced
end
local now, now_us = clock()

local known = number > 0 and redis.call('HMGET', KEYS[1], 'number', 'answer')
local is_fenced = number > 0 and not known[1]
if known and known[1] and tonumber(known[1]) >= number then
  if tonumber(known[1]) > number then
    return {0, now, {}, now, {}, {}, {}}
  end
  local answer, again = cmsgpack.unpack(known[2]), {}
  for i = 1, #answer[2], 2 do
    local entry = redis.call('HGET', queues[answer[2][i]].messages, answer[2][i + 1])
    if entry then
      again[#again + 1], again[#again + 2], again[#again + 3] = answer[2][i], answer[2][i + 1], entry
    end
  end
  return {answer[3], now, answer[1], now, {}, again, {}}
end
-- A replica that became the master may not have heard of everything that the worker was answered.
local standing = is_fenced and 1 or number > 0 and tonumber(known[1]) < tonumber(ARGV[10]) and 2 or 0

-- Settle
local at, total, accepted = 11 + #queues * 4, 0, {}
for j, q in ipairs(queues) do
  finish(q, at, parts[j][1], total, accepted, now)
  at = at + 3 * parts[j][1]
  total = total + parts[j][1]
  for _ = 1, parts[j][2] do
    total = total + 1
    if move(q, at, now, now_us) then
      accepted[total] = true
      if number == 0 then
        redis.call('ZADD', q.taken, now, ARGV[at] .. ' ' .. ARGV[at + 1])
        redis.call('ZREMRANGEBYSCORE', q.taken, '-inf', now - LIVES_TTL)
        redis.call('PEXPIRE', q.taken, LIVES_TTL)
      end
    end
    at = at + MOVE
  end
  for _ = 1, parts[j][3] do
    note_started(q, at)
    at = at + START
  end
end
local refused = {}
for ordinal = 1, total do
  if not accepted[ordinal] then
    refused[#refused + 1] = ordinal
  end
end

-- Send what was caused
local caused, left_out = {}, {}
while at <= #ARGV do
  if accepted[tonumber(ARGV[at + 1])] then
    local j = tonumber(ARGV[at])
    caused[j] = caused[j] or {}
    local item = item_at(at + 2)
    caused[j].takes_keys = caused[j].takes_keys or item.key
    table.insert(caused[j], item)
  end
  at = at + 2 + ITEM
end
for j, q in ipairs(queues) do
  if caused[j] then
    local fresh, left = sift(q, caused[j]), {}
    if caused[j].takes_keys then
      fresh, left = sift_keys(q, fresh, now, publish)
    end
    for i = 1, #left do
      left_out[#left_out + 1] = left[i]
    end
    if #fresh > 0 then
      store(q, fresh, now, publish)
    end
  end
end

-- Promote and claim: each queue its share, then whoever has more than that what is left.
local claimed, left, line = {bytes = 0}, is_fenced and 0 or room, ARGV[6] == '1' and 'suspects' or 'ready'
for j, q in ipairs(queues) do
  local most = math.min(shares[j], left)
  if asked[j] then
    promote(q, now, 200)
  end
  if most > 0 then
    local taken = claim(q, j, q[line], most, worker, claimed)
    left = left - taken
    shares[j] = taken == most and most or 0
  end
end
for j, q in ipairs(queues) do
  if left > 0 and shares[j] > 0 then
    left = left - claim(q, j, q[line], left, worker, claimed)
  end
end

-- Wake, wait, remember
local next_due, poor, is_idle = -1, {}, #claimed == 0 and room > 0 and not is_fenced
for j, q in ipairs(queues) do
  if j > 1 then
    leave(q, channel)  -- it may have no room any more for what it would be brought, or run something
  end
  if is_idle and asked[j] then
    local head = redis.call('ZRANGE', q.delayed, 0, 0, 'WITHSCORES')
    if head[2] and (next_due < 0 or tonumber(head[2]) < next_due) then
      next_due = tonumber(head[2])
    end
    if ARGV[5] ~= '0' then
      redis.call('SADD', q.waiters, ARGV[5] == '2' and TAKES .. channel or channel)
    end
  elseif redis.call('EXISTS', q.ready) == 1 then
    wake(q, publish)
  end
  if redis.call('EXISTS', q.messages) == 0 then
    redis.call('DEL', q.sequence)
  end
  if tell(q, budget, publish) == 1 then
    poor[#poor + 1] = j
  end
end
if number > 0 and not is_fenced then
  if known[1] == '0' then
    redis.call('PERSIST', KEYS[1])
  end
  local ids = {}
  for i = 1, #claimed, 3 do
    ids[#ids + 1], ids[#ids + 2] = claimed[i], claimed[i + 1]
  end
  redis.call('HSET', KEYS[1], 'number', number, 'answer', cmsgpack.pack({refused, ids, standing}))
end
return {standing, now, refused, next_due, poor, claimed, left_out}
