-- What stands before the payload of every message: place in line (the score of the ready set), claims so far, life,
-- failed attempts, losses, since when it is ready (epoch ms), whether it is recorded, and the size of the reason of
-- its death, which follows. The client knows the same layout (entry.py).
local HEADER, HEADER_SIZE = '>dI4I4I4I4dBB', 34

local function read_header(entry)
  local score, number, life, retries, lost, enqueued_at, record, reason_size = struct.unpack(HEADER, entry)
  return {
    score = score, number = number, life = life, retries = retries, lost = lost,
    enqueued_at = enqueued_at, record = record, reason_size = reason_size,
  }
end

local function payload_of(entry, header)
  return string.sub(entry, HEADER_SIZE + header.reason_size + 1)
end

local function make_entry(header, reason, payload)
  return struct.pack(HEADER, header.score, header.number, header.life, header.retries, header.lost,
    header.enqueued_at, header.record, #reason) .. reason .. payload
end
