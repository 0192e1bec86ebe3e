-- What the scripts about gatherings begin with. A gathering is a hash: parties, arrived, failed, completer, and for each
-- member, behind a colon, whether it was ok. gathering.py says what it means.

-- {parties, arrived, failed, completer}; nil when nothing is known.
local function read(key)
  local found = redis.call('HMGET', key, 'parties', 'arrived', 'failed', 'completer')
  return found[1] and {tonumber(found[1]), tonumber(found[2]), tonumber(found[3]), found[4]} or nil
end

local function write(key, gathering, ttl)
  local parties, arrived, failed, completer = unpack(gathering)
  redis.call('HSET', key, 'parties', parties, 'arrived', arrived, 'failed', failed, 'completer', completer)
  redis.call('PEXPIRE', key, ttl)
end

-- {done, failed, is_completer}
local function as_seen_by(member, gathering)
  local done = gathering[2] >= gathering[1]
  return {done and 1 or 0, gathering[3] > 0 and 1 or 0, done and gathering[4] == member and 1 or 0}
end
