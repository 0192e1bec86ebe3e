-- Make up to `most` delayed messages ready whose time has come; how many there were, and their bytes.
local function promote_some(q, now, most)
  local due = redis.call('ZRANGEBYSCORE', q.delayed, '-inf', now, 'LIMIT', 0, most)
  if #due == 0 then
    return 0, 0
  end
  redis.call('ZREM', q.delayed, unpack(due))
  local found = redis.call('HMGET', q.messages, unpack(due))
  local entries, ready, bytes = {}, {}, 0
  for i = 1, #due do
    if found[i] then
      local header = read_header(found[i])
      header.enqueued_at = now
      bytes = bytes + #found[i]
      entries[#entries + 1] = due[i]
      entries[#entries + 1] = make_entry(header, '', payload_of(found[i], header))
      ready[#ready + 1] = header.score
      ready[#ready + 1] = due[i]
      note_own(q, 1, 'enqueued', now, due[i], header, header.number + 1)
    end
  end
  if #ready > 0 then
    redis.call('HSET', q.messages, unpack(entries))
    redis.call('ZADD', q.ready, unpack(ready))
  end
  return #due, bytes
end

-- The same until it has read enough bytes; what is left is for the next call.
local function promote(q, now, most)
  local promoted, read, some, bytes = 0, 0, nil, nil
  while promoted < most and some ~= 0 and read < ENOUGH_BYTES do
    some, bytes = promote_some(q, now, math.min(most - promoted, MESSAGES_AT_A_TIME))
    promoted, read = promoted + some, read + bytes
  end
  return promoted
end
