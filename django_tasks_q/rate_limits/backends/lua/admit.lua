-- KEYS     admissions: {{{end of a slot, count}, ...}, last turn}, packed, in milliseconds; admissions.py says what it
--          means
-- ARGV     1 limit  2 width of a slot  3 window  4 '1': who has to wait gets a turn  5 slack between turns
-- Returns  0: one more is admitted, else for how many milliseconds to wait.
-- Atomic: one key.
local limit, width, window = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local packed = redis.call('GET', KEYS[1])
local before = packed and cmsgpack.unpack(packed) or {{}, 0}
local slots, counted, turn = {}, 0, before[2]
for _, slot in ipairs(before[1]) do
  if slot[1] + window > now then
    slots[#slots + 1] = slot
    counted = counted + slot[2]
  end
end

local wait = 0
if counted < limit then
  local latest = before[1][#before[1]]
  if 2 * counted < limit - 1 or now - (latest and latest[1] or 0) > 2 * (width + window) then
    turn = 0
  end
  local last = math.floor(now / width) * width + width
  if #slots > 0 and slots[#slots][1] >= last then
    slots[#slots][2] = slots[#slots][2] + 1
  else
    slots[#slots + 1] = {last, 1}
  end
else
  local left, room = counted, 0
  for _, slot in ipairs(slots) do
    left = left - slot[2]
    room = slot[1]
    if left < limit then
      break
    end
  end
  wait = room + window - now
  if ARGV[4] ~= '1' then
    return wait
  end
  turn = math.max(turn + math.floor((width + window) * tonumber(ARGV[5]) / limit) + 1, now + wait)
  wait = turn - now
end
redis.call('SET', KEYS[1], cmsgpack.pack({slots, turn}), 'PX', math.max(now, turn) - now + width + window)
return wait
