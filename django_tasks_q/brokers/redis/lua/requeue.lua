-- Give dead letters a new life.
--
-- KEYS     the thirteen of the queue (keys.py)
-- ARGV     1 the journal's budget in bytes  2 the command that publishes  3.. ids, at most 1,000
-- Returns  the ids that were dead letters
-- Atomic: one script; it begins with a write that Redis allows when it is out of memory.
--@ queue header journal wake
local q = queue_at(1)
redis.call('SREM', q.waiters, '')
local now = clock()
local requeued = {}
for i = 3, #ARGV do
  local id = ARGV[i]
  if redis.call('ZREM', q.dead, id) == 1 then
    local entry = redis.call('HGET', q.messages, id)
    local header = read_header(entry)
    local payload = payload_of(entry, header)
    header.life, header.retries, header.lost, header.enqueued_at = header.life + 1, 0, 0, now
    redis.call('HSET', q.messages, id, make_entry(header, '', payload))
    redis.call('ZADD', q.ready, header.score, id)
    note_own(q, 0, 'enqueued', now, id, header, header.number)
    requeued[#requeued + 1] = id
  end
end
if #requeued > 0 then
  wake(q, ARGV[2])
  tell(q, tonumber(ARGV[1]))
end
return requeued
