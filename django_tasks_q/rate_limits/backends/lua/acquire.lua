-- KEYS     the mutex; not on a cluster: the index of mutexes as well
-- ARGV     1 limit  2 ttl  3 worker  4 message id  5 nonce of this call  6 for how long to keep it idle  7 its name
-- Returns  the token of a new lease; false when so many others are held. The same call again answers the same.
-- Atomic: one mutex.
local mutex = read(KEYS[1])
local holders = live(mutex)
for _, holder in ipairs(holders) do
  if holder[NONCE] == ARGV[5] then
    return holder[TOKEN]
  end
end
if #holders >= tonumber(ARGV[1]) then
  return false
end
local token, ttl = math.max(mutex[1] + 1, now_us), tonumber(ARGV[2])
holders[#holders + 1] = {ARGV[4], ARGV[3], now, token, now + ttl, ttl, ARGV[5]}
mutex[2] = tonumber(ARGV[1])
write(KEYS[1], mutex, holders, ARGV[6])
if KEYS[2] then
  redis.call('ZADD', KEYS[2], now, ARGV[7])
end
return token
