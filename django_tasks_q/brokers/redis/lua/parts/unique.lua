-- Keys of which there is one message. q.unique has, for '=' and a key, the id that holds it, and for '#' and an id, its
-- key and until when it may hold it (epoch ms; 0: until its end). Who gave its key up, as a dead letter, has the second
-- only. A key whose message is not there is free whatever stands here.
local function uses_keys(q)
  if q.uses_keys == nil then
    q.uses_keys = redis.call('EXISTS', q.unique) == 1
  end
  return q.uses_keys
end

-- The key of a message and until when it may hold it, or nil.
local function key_of(q, id)
  local held = redis.call('HGET', q.unique, '#' .. id)
  if held then
    return string.match(held, '^(%S+) (%d+)$')
  end
end

local function is_over(ends, now)
  return ends ~= '0' and tonumber(ends) <= now
end

-- The id of who holds a key, or nil. It only reads.
local function holder_of(q, key, now)
  local id = redis.call('HGET', q.unique, '=' .. key)
  local own, ends = nil, nil
  if id then
    own, ends = key_of(q, id)
  end
  if own == key and not is_over(ends, now) and redis.call('HEXISTS', q.messages, id) == 1 then
    return id
  end
end

local function take_key(q, key, ttl, id, now)
  local ends = ttl == '0' and '0' or string.format('%.0f', now + ttl)
  redis.call('HSET', q.unique, '=' .. key, id, '#' .. id, key .. ' ' .. ends)
  q.uses_keys = true
end

local function give_up_key(q, id)
  local key = uses_keys(q) and key_of(q, id)
  if key and redis.call('HGET', q.unique, '=' .. key) == id then
    redis.call('HDEL', q.unique, '=' .. key)
  end
end

-- A dead letter lives again: with its key, unless that is held or its time is over.
local function take_key_again(q, id, now)
  local key, ends = nil, nil
  if uses_keys(q) then
    key, ends = key_of(q, id)
  end
  if key and (is_over(ends, now) or holder_of(q, key, now)) then
    redis.call('HDEL', q.unique, '#' .. id)
  elseif key then
    redis.call('HSET', q.unique, '=' .. key, id)
  end
end

-- Messages have ended.
local function forget_keys(q, ids)
  if #ids == 0 or not uses_keys(q) then
    return
  end
  local names = {}
  for i = 1, #ids do
    names[i] = '#' .. ids[i]
  end
  local held = fields_of(q.unique, names)
  for i = 1, #ids do
    if held[i] then
      give_up_key(q, ids[i])
      redis.call('HDEL', q.unique, names[i])
    end
  end
end
