-- Who holds a key.
--
-- KEYS     the fourteen of the queue (keys.py)
-- ARGV     1 the key
-- Returns  the id, or ''
-- Atomic: one script; it only reads.
--@ queue unique
return holder_of(queue_at(1), ARGV[1], (clock())) or ''
