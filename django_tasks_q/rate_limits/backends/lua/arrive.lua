-- KEYS     the gathering
-- ARGV     1 member  2 '1': it is ok  3 parties; 0: as expected  4 ttl
-- Returns  what stands; false when nobody has said how many are expected.
-- Atomic: one gathering.
local gathering, parties, ok = read(KEYS[1]), tonumber(ARGV[3]), ARGV[2] == '1'
if not gathering and parties == 0 then
  return false
end
local before = gathering or {parties, 0, 0, ''}
local field = ':' .. ARGV[1]
local was = redis.call('HGET', KEYS[1], field)
local arrived, failed = before[2], before[3]
if not was then
  arrived = arrived + 1
  failed = failed + (ok and 0 or 1)
elseif was == '0' and ok then
  failed = failed - 1
end
if not was or (was == '0' and ok) then
  redis.call('HSET', KEYS[1], field, ok and 1 or 0)
end
if parties == 0 then
  parties = before[1]
end
local after = {parties, arrived, failed, before[4]}
if arrived >= parties and (before[2] < before[1] or (before[3] > 0 and failed == 0)) then
  after[4] = ARGV[1]
end
write(KEYS[1], after, ARGV[4])
return as_seen_by(ARGV[1], after)
