-- The next life of ids that ended, so that an id that is sent again begins a new one and a repeat is recognised. An id
-- without a record lives its first life again: who has lived before is recorded.
-- Two generations of at most 50,000 ids for each queue; what nobody added to for a day is forgotten.
local MOST_LIVES, LIVES_TTL = 50000, 86400000

-- pairs: id, next life, id, next life, ... Kept with when the last one ended.
local function remember_lives(q, pairs_, now)
  if #pairs_ == 0 then
    return
  end
  for i = 2, #pairs_, 2 do
    pairs_[i] = string.format('%d:%.0f', pairs_[i], now)
  end
  redis.call('HSET', q.lives, unpack(pairs_))
  redis.call('PEXPIRE', q.lives, LIVES_TTL)
  if redis.call('HLEN', q.lives) >= MOST_LIVES then
    redis.call('RENAME', q.lives, q.former_lives)
  end
end
