-- Take up to `most` messages of one line for `worker`, appending {queue number, id, entry} to `claimed`.
local function claim_some(q, number, line, most, worker, claimed)
  local popped = redis.call('ZPOPMIN', line, most)
  if #popped == 0 then
    return 0
  end
  local ids = {}
  for i = 1, #popped, 2 do
    ids[#ids + 1] = popped[i]
  end
  local entries = redis.call('HMGET', q.messages, unpack(ids))
  local fences = {}
  for i = 1, #ids do
    if entries[i] then  -- or else somebody has removed keys: what is left must not keep the others back
      local claims, life = struct.unpack('>I4I4', entries[i], 9)
      fences[#fences + 1] = ids[i]
      fences[#fences + 1] = life .. ':' .. (claims + 1) .. ':' .. worker .. '|'
      local at = #claimed
      claimed[at + 1], claimed[at + 2], claimed[at + 3] = number, ids[i], entries[i]
      claimed.bytes = claimed.bytes + #entries[i]
    end
  end
  if #fences > 0 then
    redis.call('HSET', q.claims, unpack(fences))
  end
  return #ids
end

-- The same until `claimed` has enough bytes; what is left is for the next exchange. How many there were.
local function claim(q, number, line, most, worker, claimed)
  local taken, some = 0, nil
  while taken < most and some ~= 0 and claimed.bytes < ENOUGH_BYTES do
    some = claim_some(q, number, line, math.min(most - taken, MESSAGES_AT_A_TIME), worker, claimed)
    taken = taken + some
  end
  return taken
end
