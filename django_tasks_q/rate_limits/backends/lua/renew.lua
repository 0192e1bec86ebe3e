-- KEYS     the mutex
-- ARGV     1 for how long to keep it idle  2... tokens
-- Returns  how many of their leases were not over; those begin again.
-- Atomic: one mutex. It begins with a write that Redis allows when it is out of memory, which makes it allow all.
redis.call('PERSIST', KEYS[1])
local mutex, renewed = read(KEYS[1]), 0
local holders = live(mutex)
for i = 2, #ARGV do
  for _, holder in ipairs(holders) do
    if holder[TOKEN] == tonumber(ARGV[i]) then
      holder[EXPIRES] = now + holder[TTL]
      renewed = renewed + 1
    end
  end
end
if #mutex[3] > 0 then
  write(KEYS[1], mutex, holders, ARGV[1])
else
  redis.call('PEXPIRE', KEYS[1], ARGV[1])
end
return renewed
