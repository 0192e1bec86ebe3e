-- KEYS     the mutex
-- Returns  how many of its leases are not over.
return #live(read(KEYS[1]))
