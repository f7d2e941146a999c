-- Adds uses that a process has counted to the window of a key. ARGV: the start and the length of the process's window in
-- ms, the number of uses.
local began, length, used = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local kept = redis.call('GET', KEYS[1])
if kept then
  local start, had, backfilled = struct.unpack('<ddB', kept)
  if began < start + length then
    redis.call('SET', KEYS[1], struct.pack('<ddB', start, had + used, backfilled), 'KEEPTTL')
    return 1
  end
end
redis.call('SET', KEYS[1], struct.pack('<ddB', began, used, 0), 'PX', 2 * length)
return 1
