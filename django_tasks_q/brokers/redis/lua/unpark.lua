-- Make those ready that are first in a line of what is parked.
--
-- KEYS     the fourteen of the queue (keys.py), then the line
-- ARGV     1 the journal's budget in bytes  2 the command that publishes  3 the mark of the line  4 how many at most
-- Returns  how many there were
-- Atomic: one script; it begins with a write that Redis allows when it is out of memory.
--@ queue header journal wake
local q, line, mark = queue_at(1), KEYS[15], ARGV[3]
redis.call('SREM', q.waiters, '')
local now = clock()
local number, looked = 0, 0
while number < tonumber(ARGV[4]) and looked < 1000 do
  local first = redis.call('ZPOPMIN', line)
  if not first[1] then
    break
  end
  looked = looked + 1
  local id = first[1]
  local entry = redis.call('ZSCORE', q.delayed, id) and redis.call('HGET', q.messages, id)
  local header = entry and read_header(entry)
  if header and string.sub(entry, HEADER_SIZE + 1, HEADER_SIZE + header.reason_size) == mark then
    redis.call('ZREM', q.delayed, id)
    header.enqueued_at = now
    redis.call('HSET', q.messages, id, make_entry(header, '', payload_of(entry, header)))
    redis.call('ZADD', q.ready, header.score, id)
    note_own(q, 1, 'enqueued', now, id, header, header.number + 1)
    number = number + 1
  end
end
if number > 0 then
  wake(q, ARGV[2])
  tell(q, tonumber(ARGV[1]), ARGV[2])
end
return number
