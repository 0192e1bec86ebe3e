-- Who waits stands in q.waiters with the channel that wakes it; behind this mark when it runs nothing, so that nothing
-- keeps it from hearing: then a message may be claimed for it, and is brought to it. No namespace begins so.
local TAKES = '\1'

local function leave(q, channel)
  redis.call('SREM', q.waiters, channel, TAKES .. channel)
end

-- Wake one worker that found nothing in this queue; one that is gone does not hear it, so the next is tried.
local function wake(q, publish)
  for _ = 1, 16 do
    local waiter = redis.call('SPOP', q.waiters)
    if not waiter or redis.call(publish, string.match(waiter, '^\1?(.*)$'), '') > 0 then
      return
    end
  end
end

-- Claim a message as if the worker had asked, and bring it: the queue's first key, the id, the entry. Its place among
-- the waiters allows that: a burial takes it from there before it looks for what the worker holds, so what it never
-- hears of is handed back with the rest.
local function bring(q, waiter, id, entry, life)
  local channel = string.sub(waiter, 2)
  redis.call('HSET', q.claims, id, life .. ':1:' .. string.match(channel, '^[^{]*{%*}:wake:(.*)$') .. '|')
  local brought = struct.pack('>I2I2', #q.messages, #id) .. q.messages .. id .. entry
  if redis.call('PUBLISH', channel, brought) > 0 then
    return true
  end
  redis.call('HDEL', q.claims, id)
  return false
end

-- Wake one worker for a message that is ready, with no other before it. Whether it has it already.
local function hand_over(q, id, entry, life, publish)
  for _ = 1, 16 do
    local waiter = redis.call('SPOP', q.waiters)
    if not waiter then
      return false
    elseif string.sub(waiter, 1, 1) == TAKES then
      if bring(q, waiter, id, entry, life) then
        return true
      end
    elseif redis.call(publish, waiter, '') > 0 then
      return false
    end
  end
  return false
end
