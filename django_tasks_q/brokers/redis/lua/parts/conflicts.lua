-- What happens when the key of a message that is sent is held. Nothing happens before it is known that none is refused.

-- Whether nobody runs it: only that can be replaced or begin its wait anew.
local function is_waiting(q, id)
  return redis.call('HEXISTS', q.claims, id) == 0 and not redis.call('ZSCORE', q.dead, id)
end

-- What waits begins its wait anew, as another message of its key says; one that must run alone waits as it did.
local function refresh(q, id, item, now, publish)
  local was_delayed = redis.call('ZREM', q.delayed, id) == 1
  if not was_delayed and redis.call('ZREM', q.ready, id) == 0 then
    return
  end
  take_key(q, item.key, item.ttl, id, now)
  local entry, due = redis.call('HGET', q.messages, id), due_of(item, now)
  local header = read_header(entry)
  if was_delayed and not due then
    header.enqueued_at = now
    note_own(q, 1, 'enqueued', now, id, header, header.number + 1)
  end
  redis.call('HSET', q.messages, id, make_entry(header, '', payload_of(entry, header)))
  if due then
    redis.call('ZADD', q.delayed, due, id)
  else
    redis.call('ZADD', q.ready, header.score, id)
  end
  wake(q, publish)  -- somebody must know how long to sleep
end

-- Of fresh items those that are to be stored, and pairs of what is left out and who holds its key; or nil, the number
-- of the first that is refused, and who holds its key.
local function sift_keys(q, fresh, now, publish)
  local taken, held, left = {}, {}, {}
  for i = 1, #fresh do
    local item = fresh[i]
    held[i] = item.key and (taken[item.key] or holder_of(q, item.key, now))
    if held[i] and item.policy == 'raise' and item.mode ~= 'caused' then
      return nil, item.number, held[i]
    elseif item.key and (not held[i] or item.policy == 'replace' and (taken[item.key] or is_waiting(q, held[i]))) then
      taken[item.key] = item.id
    end
  end
  local admitted, place = {}, {}
  for i = 1, #fresh do
    local item, holder = fresh[i], held[i]
    if holder and place[holder] and item.policy == 'replace' then  -- of the same batch: the last one stands
      left[#left + 1], left[#left + 2] = holder, item.id
      admitted[place[holder]], place[item.id] = item, place[holder]
    elseif not holder or (item.policy == 'replace' and is_waiting(q, holder)) then
      if holder then
        withdraw(q, {holder, redis.call('HGET', q.messages, holder)}, now)
      end
      admitted[#admitted + 1] = item
      place[item.id] = #admitted
    else
      if item.policy == 'refresh' and not place[holder] and is_waiting(q, holder) then
        refresh(q, holder, item, now, publish)
      end
      left[#left + 1], left[#left + 2] = item.id, holder
    end
  end
  for i = 1, #admitted do
    if admitted[i].key then
      take_key(q, admitted[i].key, admitted[i].ttl, admitted[i].id, now)
    end
  end
  return admitted, left
end
