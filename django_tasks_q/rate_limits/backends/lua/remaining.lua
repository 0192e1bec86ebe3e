-- KEYS     the mutex
-- ARGV     1 token
-- Returns  the milliseconds that are left of its lease; false when it is over.
for _, holder in ipairs(live(read(KEYS[1]))) do
  if holder[TOKEN] == tonumber(ARGV[1]) then
    return holder[EXPIRES] - now
  end
end
return false
