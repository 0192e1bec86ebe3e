-- Events gather in q.events while a script works; tell() appends them to the queue's stream: as one entry, or as
-- several of a thousand events.
local function note(q, event)
  if event ~= '' then
    q.events[#q.events + 1] = event
  end
end

-- Whether what happens to a message is told: if it wants a record, or has died before (recording.py).
local function is_recorded(header)
  return header.record == 1 or header.life > 0
end

-- An event that the store itself causes, as changes.py tells it: promoted, requeued, withdrawn.
local function note_own(q, kind, state, now, id, header, delivery)
  if not is_recorded(header) then
    return
  end
  note(q, string.format(
    '{"kind":%d,"message_id":%s,"state":"%s","at":%.0f,"life":%d,"attempt":%d,"delivery":%d,"lost":%d,"record":%s}',
    kind, cjson.encode(id), state, now, header.life, header.retries, delivery, header.lost,
    header.record == 1 and 'true' or 'false'))
end

local function size_of(fields)
  local bytes = 0
  for i = 2, #fields, 2 do
    bytes = bytes + #fields[i]
  end
  return bytes, #fields / 2
end

-- An empty stream stays for a while: it knows its last id, so no new entry is taken for one that was trimmed.
local STREAM_TTL = 3600000

-- Events that are gone from the stream; an empty journal keeps no count.
local function count_off(q, bytes, events)
  local left = redis.call('HINCRBY', q.fill, 'bytes', -bytes)
  redis.call('HINCRBY', q.fill, 'events', -events)
  if redis.call('XLEN', q.journal) == 0 then
    redis.call('PEXPIRE', q.journal, STREAM_TTL)
    redis.call('HDEL', q.fill, 'bytes', 'events')
    left = 0
  end
  return left
end

-- Events that nobody will read: when they were written is about when they happened.
local function note_gap(q, entry_id, events)
  local written = string.match(entry_id, '^%d+')
  redis.call('HINCRBY', q.fill, 'dropped', events)
  redis.call('HSETNX', q.fill, 'since', written)
  redis.call('HSET', q.fill, 'until', written)
end

local function drop_oldest(q)
  local oldest = redis.call('XRANGE', q.journal, '-', '+', 'COUNT', 1)[1]
  local bytes, events = size_of(oldest[2])
  redis.call('XDEL', q.journal, oldest[1])
  note_gap(q, oldest[1], events)
  return count_off(q, bytes, events)
end

-- Append what was noted, within the budget, and say so on the channel that is called as the journal if it was empty:
-- whoever mirrors looks until it is empty again. 1 when the journal is over half of its budget, else 0.
local function tell(q, budget, publish)
  local events = q.events
  if #events == 0 then
    return 0
  end
  q.events = {}
  local fields = {}
  for i = 1, #events do
    fields[2 * i - 1] = 'e'
    fields[2 * i] = events[i]
  end
  for first = 1, #fields, AT_A_TIME do
    redis.call('XADD', q.journal, '*', unpack(fields, first, math.min(first + AT_A_TIME - 1, #fields)))
  end
  local bytes = size_of(fields)
  local total = redis.call('HINCRBY', q.fill, 'bytes', bytes)
  if redis.call('HINCRBY', q.fill, 'events', #events) == #events then
    redis.call('PERSIST', q.journal)
    redis.call(publish, q.journal, '')
  end
  local dropped = 0
  while total > budget and dropped < 1000 do
    total = drop_oldest(q)
    dropped = dropped + 1
  end
  return total * 2 >= budget and 1 or 0
end
