-- Wake one worker that found nothing in this queue; one that is gone does not hear it, so the next is tried.
local function wake(q, publish)
  for _ = 1, 16 do
    local channel = redis.call('SPOP', q.waiters)
    if not channel or redis.call(publish, channel, '') > 0 then
      return
    end
  end
end
