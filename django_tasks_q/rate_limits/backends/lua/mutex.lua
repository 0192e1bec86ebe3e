-- What the scripts about leases begin with. A mutex is {version, limit, {holder, ...}}, packed; a holder is
-- {message id, worker, since, token, expires, ttl, nonce}, in milliseconds. mutex.py says what it means.
local TOKEN, EXPIRES, TTL, NONCE = 4, 5, 6, 7

local time = redis.call('TIME')
local now_us = tonumber(time[1]) * 1000000 + tonumber(time[2])
local now = math.floor(now_us / 1000)

local function read(key)
  local packed = redis.call('GET', key)
  return packed and cmsgpack.unpack(packed) or {0, 1, {}}
end

local function live(mutex)
  local holders = {}
  for _, holder in ipairs(mutex[3]) do
    if holder[EXPIRES] > now then
      holders[#holders + 1] = holder
    end
  end
  return holders
end

-- With a higher version, which is returned. Kept as long as a lease may last, and then as long as said.
local function write(key, mutex, holders, keep)
  mutex[1] = math.max(mutex[1] + 1, now_us)
  mutex[3] = holders
  local last = now
  for _, holder in ipairs(holders) do
    last = math.max(last, holder[EXPIRES])
  end
  redis.call('SET', key, cmsgpack.pack(mutex), 'PX', last - now + tonumber(keep))
  return mutex[1]
end
