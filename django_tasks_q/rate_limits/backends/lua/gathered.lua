-- KEYS     the gathering
-- Returns  what stands; false when nothing is known.
local gathering = read(KEYS[1])
return gathering and as_seen_by('', gathering) or false
