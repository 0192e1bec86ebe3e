-- Sending: items are {id, priority, when, time, record, mode, payload, event}.
--   when   ''  at once
--          '+' time milliseconds from now
--          '=' at time, epoch milliseconds; it is delayed even if that has passed, as its event says
--          '?' the sender takes time for past; by this clock it may not be
--   mode   'new': a known id is refused   'caused': left out while known
--          'repeat:' and epoch milliseconds: left out when it is known, or was then or later; what ended before then
--          was another message   'revive:' and a life: left out while known, and begins that life or a later one
--          one that takes a key: and behind it, with ' ' between them, the key, its time to live in ms (0: none), and
--          what happens when it is held: 'drop', 'raise', 'replace', 'refresh' (see conflicts.lua)
--   event  its creation as JSON without a life, or ''
local ITEM = 8
local LINE = 2 ^ 45  -- places in line for each priority: 201 of them stay below 2^53

local LONGEST_MODE = 30

local function item_at(first)
  local item = {
    id = ARGV[first], priority = ARGV[first + 1], when = ARGV[first + 2], time = ARGV[first + 3],
    record = ARGV[first + 4], mode = ARGV[first + 5], payload = ARGV[first + 6], event = ARGV[first + 7],
  }
  if #item.mode > LONGEST_MODE then
    item.mode, item.key, item.ttl, item.policy = string.match(item.mode, '^(%S+) (%x+) (%d+) (%a+)$')
  end
  return item
end

-- Whether a message that is sent again had arrived, when the last one of its id ended at that time.
local function was_sent(item, ended)
  local since = string.match(item.mode, '^repeat:(%d+)$')
  return since and tonumber(ended) >= tonumber(since)
end

-- Those that are to be stored, with their lives; or nil and the number of the first that is refused.
local function sift(q, items)
  local ids = {}
  for i = 1, #items do
    ids[i] = items[i].id
  end
  local known = fields_of(q.messages, ids)
  local lives = fields_of(q.lives, ids)
  local former = fields_of(q.former_lives, ids)
  local fresh, seen = {}, {}
  for i = 1, #items do
    local item = items[i]
    local life, ended = string.match(lives[i] or former[i] or '', '^(%d+):(%d+)$')
    local is_known = known[i] or seen[item.id]
    if is_known and item.mode == 'new' then
      return nil, i
    end
    if not is_known and not (life and was_sent(item, ended)) then
      item.life = math.max(tonumber(life or 0), tonumber(string.match(item.mode, '^revive:(%d+)$') or 0))
      fresh[#fresh + 1] = item
      seen[item.id] = true
    end
  end
  return fresh
end

-- When a message is due, or nil: at once.
local function due_of(item, now)
  if item.when == '+' then
    return now + item.time
  elseif item.when == '=' or (item.when == '?' and tonumber(item.time) > now) then
    return tonumber(item.time)
  end
end

local function note_creation(q, item)
  if item.life > 0 and item.event ~= '' then
    note(q, '{"life":' .. item.life .. ',' .. string.sub(item.event, 2))
  else
    note(q, item.event)
  end
end

-- Store items, none of which is known, and wake who waits. One that is ready, with no other before it, goes straight to
-- who waits: it need not ask.
local function store(q, items, now, publish)
  local place = redis.call('INCRBY', q.sequence, #items) - #items
  local entries, ready, delayed, earliest = {}, {}, {}, nil
  for i = 1, #items do
    local item = items[i]
    local score = (item.priority + 100) * LINE + place + i
    local due = due_of(item, now)
    local header = {
      score = score, number = 0, life = item.life, retries = 0, lost = 0,
      enqueued_at = now, record = tonumber(item.record),
    }
    entries[2 * i - 1] = item.id
    entries[2 * i] = make_entry(header, '', item.payload)
    if due then
      delayed[#delayed + 1] = due
      delayed[#delayed + 1] = item.id
      earliest = math.min(earliest or due, due)
    else
      ready[#ready + 1] = score
      ready[#ready + 1] = item.id
    end
    note_creation(q, item)
  end
  write_all('HSET', q.messages, entries)
  if #items == 1 and #ready > 0 and redis.call('EXISTS', q.ready) == 0 then
    if not hand_over(q, entries[1], entries[2], items[1].life, publish) then
      write_all('ZADD', q.ready, ready)
    end
  elseif #ready > 0 then
    write_all('ZADD', q.ready, ready)
    wake(q, publish)
  end
  if earliest then
    write_all('ZADD', q.delayed, delayed)
    if tonumber(redis.call('ZRANGE', q.delayed, 0, 0, 'WITHSCORES')[2]) >= earliest then
      wake(q, publish)  -- somebody must know how long to sleep
    end
  end
end
