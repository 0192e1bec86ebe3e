-- Give dead letters a new life.
--
-- KEYS     the fourteen of the queue (keys.py)
-- ARGV     1 the journal's budget in bytes  2 the command that publishes  3.. ids, at most 1,000
-- Returns  {how many of the ids it looked at: it stops when it has read enough, the ids that were dead letters}
-- Atomic: one script; it begins with a write that Redis allows when it is out of memory.
--@ queue header journal unique wake
local q = queue_at(1)
redis.call('SREM', q.waiters, '')
local now = clock()
local requeued, looked, bytes = {}, 0, 0
while looked < #ARGV - 2 and bytes < ENOUGH_BYTES do
  looked = looked + 1
  local id = ARGV[2 + looked]
  local entry = redis.call('ZREM', q.dead, id) == 1 and redis.call('HGET', q.messages, id)
  if entry then
    bytes = bytes + #entry
    local header = read_header(entry)
    local payload = payload_of(entry, header)
    header.life, header.retries, header.lost, header.enqueued_at = header.life + 1, 0, 0, now
    redis.call('HSET', q.messages, id, make_entry(header, '', payload))
    redis.call('ZADD', q.ready, header.score, id)
    take_key_again(q, id, now)
    note_own(q, 0, 'enqueued', now, id, header, header.number)
    requeued[#requeued + 1] = id
  end
end
if #requeued > 0 then
  wake(q, ARGV[2])
  tell(q, tonumber(ARGV[1]), ARGV[2])
end
return {looked, requeued}
