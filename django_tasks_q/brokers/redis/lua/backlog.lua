-- What waits in the journals of some queues.
--
-- KEYS     the fourteen of each queue (keys.py)
-- Returns  for each queue {events, bytes, age in ms of the oldest entry, dropped, since, until}
-- Reads only.
--@ queue
local now, rows = clock(), {}
for j = 1, #KEYS / 14 do
  local q = queue_at(14 * j - 13)
  local fill = redis.call('HMGET', q.fill, 'events', 'bytes', 'dropped', 'since', 'until')
  local oldest = redis.call('XRANGE', q.journal, '-', '+', 'COUNT', 1)[1]
  local age = oldest and math.max(0, now - string.match(oldest[1], '^%d+')) or 0
  for i = 1, 5 do
    fill[i] = tonumber(fill[i] or 0)
  end
  rows[j] = {fill[1], fill[2], age, fill[3], fill[4], fill[5]}
end
return rows
