-- KEYS     the gathering
-- ARGV     1 parties  2 ttl
-- Returns  1; 0 when it is known already.
-- Atomic: one gathering.
if read(KEYS[1]) then
  return 0
end
write(KEYS[1], {ARGV[1], 0, 0, ''}, ARGV[2])
return 1
