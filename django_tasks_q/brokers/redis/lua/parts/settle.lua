-- Settlements, each only for whoever owns the delivery: the fence is life, number and worker, and ends with '|', after
-- which stands since when the delivery is known to run: digits only, or else it is of a worker with a longer name.
local function owns(claim, fence)
  return claim and (claim == fence
    or string.sub(claim, 1, #fence) == fence and string.find(claim, '^%d+$', #fence + 1) ~= nil)
end

local function life_in(fence)
  return string.sub(fence, 1, 2) == '0:' and 0 or tonumber(string.match(fence, '^%d+'))
end

-- count ids, count fences and count events from ARGV[first] on: they are done and gone.
-- accepted[ordinal] is set for those that were owned; ordinals begin after `before`.
local function finish(q, first, count, before, accepted, now)
  if count == 0 then
    return
  end
  local claims = redis.call('HMGET', q.claims, unpack(ARGV, first, first + count - 1))
  local gone, lives = {}, {}
  for i = 0, count - 1 do
    local id, fence = ARGV[first + i], ARGV[first + count + i]
    if owns(claims[i + 1], fence) then
      accepted[before + i + 1] = true
      local event, life = ARGV[first + 2 * count + i], life_in(fence)
      gone[#gone + 1] = id
      lives[#lives + 1] = id
      lives[#lives + 1] = event == '' and life or life + 1  -- without a record there is nothing to tell lives apart
      note(q, event)
    end
  end
  if #gone > 0 then
    redis.call('HDEL', q.claims, unpack(gone))
    redis.call('HDEL', q.messages, unpack(gone))
    forget_keys(q, gone)
    remember_lives(q, lives, now)
  end
end

local MOVE = 9  -- id, fence, place, delay, retries, lost, reason, payload ('' as it was), event

-- What is parked is delayed, its reason is a mark, and `parked 17` says that the 17th key is the line of those with this
-- mark. Whoever was promoted meanwhile or has gone stays in the line until somebody looks (unpark.lua).
local PARKED_TTL = 604800000

-- One delivery goes to another place. false when it was not owned.
local function move(q, first, now, now_us)
  local id, fence, place = ARGV[first], ARGV[first + 1], ARGV[first + 2]
  if not owns(redis.call('HGET', q.claims, id), fence) then
    return false
  end
  local entry = redis.call('HGET', q.messages, id)
  if not entry then
    redis.call('HDEL', q.claims, id)
    return false
  end
  local header = read_header(entry)
  local payload, reason = ARGV[first + 7], ARGV[first + 6]
  if payload == '' then
    payload = payload_of(entry, header)
  end
  header.number = header.number + 1
  header.retries = tonumber(ARGV[first + 4])
  header.lost = tonumber(ARGV[first + 5])
  redis.call('HDEL', q.claims, id)
  redis.call('HSET', q.messages, id, make_entry(header, reason, payload))
  local line = string.match(place, '^parked (%d+)$')
  if line then
    line = KEYS[tonumber(line)]
    redis.call('ZADD', line, header.score, id)
    redis.call('PEXPIRE', line, PARKED_TTL)
    redis.call('ZADD', q.delayed, now + ARGV[first + 3], id)
  elseif place == 'delayed' then
    redis.call('ZADD', q.delayed, now + ARGV[first + 3], id)
  elseif place == 'dead' then
    redis.call('ZADD', q.dead, now_us, id)
    give_up_key(q, id)
  else
    redis.call('ZADD', q[place], header.score, id)
  end
  note(q, ARGV[first + 8])
  return true
end

local START = 4  -- id, fence, since when (epoch ms), event

local function note_started(q, first)
  local id, fence = ARGV[first], ARGV[first + 1]
  if owns(redis.call('HGET', q.claims, id), fence) then
    redis.call('HSET', q.claims, id, fence .. ARGV[first + 2])
    note(q, ARGV[first + 3])
  end
end
