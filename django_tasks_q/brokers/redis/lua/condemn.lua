-- Begin a burial: the lease is over for good and stays as a note until the burial is done, so that one that was
-- interrupted is found and done again.
--
-- KEYS     1 leases
-- ARGV     1 worker  2 '1': only if its lease has run out
-- Returns  1 when it is condemned or unknown, 0 when it has been renewed meanwhile
-- Atomic: one script; it begins with a write that Redis allows when it is out of memory.
--@ queue
redis.call('ZREM', KEYS[1], '')
local now = clock()
local lease = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not lease then
  return 1
end
if ARGV[2] == '1' and tonumber(lease) >= now then
  return 0
end
redis.call('ZADD', KEYS[1], 0, ARGV[1])
return 1
