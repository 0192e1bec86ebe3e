-- KEYS     the mutex
-- ARGV     1 token of the lease to end; '': all  2 for how long to keep it idle
-- Returns  how many were not over.
-- Atomic: one mutex. It begins with a write that Redis allows when it is out of memory, which makes it allow all.
redis.call('PEXPIRE', KEYS[1], ARGV[2])
local mutex, token = read(KEYS[1]), tonumber(ARGV[1])
local kept, ended = {}, 0
for _, holder in ipairs(live(mutex)) do
  if not token or holder[TOKEN] == token then
    ended = ended + 1
  else
    kept[#kept + 1] = holder
  end
end
if #mutex[3] > 0 then
  write(KEYS[1], mutex, kept, ARGV[2])
end
return ended
