-- A part of what a worker holds in a queue, which nobody wakes it for any more. It was fenced before, so nothing is
-- added meanwhile.
--
-- KEYS     the fourteen of the queue (keys.py)
-- ARGV     1 worker  2 cursor, 0 to begin  3 channel that wakes the worker
-- Returns  {cursor, 0 when that was all; id, since when it is known to run (epoch ms) or '', ...}
-- Atomic: one script; it writes nothing but a removal.
--@ queue wake
local q = queue_at(1)
leave(q, ARGV[3])
local scanned = redis.call('HSCAN', q.claims, ARGV[2], 'COUNT', 500)
local owned = {}
for i = 1, #scanned[2], 2 do
  local worker, started = string.match(scanned[2][i + 1], '^%d+:%d+:(.*)|(%d*)$')
  if worker == ARGV[1] then
    owned[#owned + 1], owned[#owned + 2] = scanned[2][i], started
  end
end
return {scanned[1], owned}
