-- How much some queues hold, and how long the oldest of each priority has been ready.
--
-- KEYS     the fourteen of each queue (keys.py)
-- Returns  for each queue {ready (suspects too), in flight, delayed, dead, age in ms of the oldest that is ready}
-- Reads only; its inner loop runs once for each priority in use, at most 201 times.
--@ queue header
local now, rows = clock(), {}

local function oldest_in(q)
  local oldest = 0
  for _, line in ipairs({q.ready, q.suspects}) do
    local from = '-inf'
    for _ = 1, 201 do
      local head = redis.call('ZRANGEBYSCORE', line, from, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
      if not head[1] then
        break
      end
      local entry = redis.call('HGET', q.messages, head[1])
      if entry then
        oldest = math.max(oldest, now - read_header(entry).enqueued_at)
      end
      from = string.format('%.0f', (math.floor(head[2] / 2 ^ 45) + 1) * 2 ^ 45)
    end
  end
  return oldest
end

for j = 1, #KEYS / 14 do
  local q = queue_at(14 * j - 13)
  rows[j] = {
    redis.call('ZCARD', q.ready) + redis.call('ZCARD', q.suspects),
    redis.call('HLEN', q.claims),
    redis.call('ZCARD', q.delayed),
    redis.call('ZCARD', q.dead),
    oldest_in(q),
  }
end
return rows
