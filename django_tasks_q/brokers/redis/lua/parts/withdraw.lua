-- Drop messages that nobody runs, wherever they wait: gone is {id, entry, id, entry, ...}. They are discarded, or what
-- `state` says.
local function withdraw(q, gone, now, state)
  if #gone == 0 then
    return
  end
  local ids, lives = {}, {}
  for i = 1, #gone, 2 do
    local id, header = gone[i], read_header(gone[i + 1])
    ids[#ids + 1] = id
    lives[#lives + 1] = id
    lives[#lives + 1] = is_recorded(header) and header.life + 1 or header.life
    note_own(q, 5, state or 'discarded', now, id, header, header.number + 1)
  end
  redis.call('HDEL', q.messages, unpack(ids))
  redis.call('ZREM', q.ready, unpack(ids))
  redis.call('ZREM', q.suspects, unpack(ids))
  redis.call('ZREM', q.delayed, unpack(ids))
  redis.call('ZREM', q.dead, unpack(ids))
  forget_keys(q, ids)
  remember_lives(q, lives, now)
  if redis.call('EXISTS', q.messages) == 0 then
    redis.call('DEL', q.sequence)
  end
end

-- The messages among ids that are there, with their entries, until enough bytes were read; and how many of the ids
-- were looked at, at least one.
local function found_among(q, ids)
  local found, bytes, looked = {}, 0, 0
  while looked < #ids and bytes < ENOUGH_BYTES do
    local last = math.min(looked + MESSAGES_AT_A_TIME, #ids)
    local entries = redis.call('HMGET', q.messages, unpack(ids, looked + 1, last))
    for i = 1, #entries do
      if entries[i] then
        found[#found + 1], found[#found + 2] = ids[looked + i], entries[i]
        bytes = bytes + #entries[i]
      end
    end
    looked = last
  end
  return found, looked
end

-- The same for the first ids of a line, out of which those go that have no message.
local function drop_first(q, line, ids, now)
  local found, looked = found_among(q, ids)
  withdraw(q, found, now)
  if #found < 2 * looked then
    redis.call('ZREM', line, unpack(ids, 1, looked))
  end
  return looked
end

local function ids_of(found)
  local ids = {}
  for i = 1, #found, 2 do
    ids[#ids + 1] = found[i]
  end
  return ids
end
