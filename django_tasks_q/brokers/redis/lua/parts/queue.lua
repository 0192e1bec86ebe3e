-- One queue's keys from KEYS[first] on, in the order of keys.py. enqueue.lua is given the first ten only.
local function queue_at(first)
  return {
    messages = KEYS[first],          -- hash: id -> header, reason, payload (see header.lua)
    ready = KEYS[first + 1],         -- sorted set: id by priority and place in line
    delayed = KEYS[first + 2],       -- sorted set: id by due time, epoch milliseconds
    lives = KEYS[first + 3],         -- hash: id that ended -> its next life
    former_lives = KEYS[first + 4],  -- the same, older
    sequence = KEYS[first + 5],      -- counter: the last place in line
    waiters = KEYS[first + 6],       -- set: channels of workers that found nothing (see wake.lua)
    journal = KEYS[first + 7],       -- stream: events for the mirror
    fill = KEYS[first + 8],          -- hash: bytes and events in the journal, and its gap
    claims = KEYS[first + 9],        -- hash: id -> fence, and since when it is known to run
    suspects = KEYS[first + 10],     -- as ready: what must run alone
    dead = KEYS[first + 11],         -- sorted set: id by time of death, epoch microseconds
    taken = KEYS[first + 12],        -- sorted set: fences that burials took away, by time
    unique = KEYS[first + 13],       -- hash: keys of which there is one message, and who holds them (see unique.lua)
    events = {},
  }
end

-- The store's clock in epoch milliseconds, and in microseconds.
local function clock()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000), time[1] * 1000000 + time[2]
end

-- Megabytes are slow in Lua: whoever reads messages reads so many at a time, and stops after so many bytes.
local MESSAGES_AT_A_TIME, ENOUGH_BYTES = 20, 4000000

-- Lua hands on some thousands of values at a time, and a script may get more; pairs stay together.
local AT_A_TIME = 2000

local function write_all(command, key, values)
  for first = 1, #values, AT_A_TIME do
    redis.call(command, key, unpack(values, first, math.min(first + AT_A_TIME - 1, #values)))
  end
end

local function fields_of(key, names)
  local found = {}
  for first = 1, #names, AT_A_TIME do
    local last = math.min(first + AT_A_TIME - 1, #names)
    for i, value in ipairs(redis.call('HMGET', key, unpack(names, first, last))) do
      found[first + i - 1] = value
    end
  end
  return found
end
