-- Adds what was counted elsewhere to the window of a key. ARGV: when that window began
-- and its length, in ms; the uses.
local began, length, used = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local kept = redis.call('GET', KEYS[1])
if kept then
  local start, had, seeded = struct.unpack('<ddB', kept)
  if began < start + length then
    redis.call('SET', KEYS[1], struct.pack('<ddB', start, had + used, seeded), 'KEEPTTL')
    return 1
  end
end
redis.call('SET', KEYS[1], struct.pack('<ddB', began, used, 0), 'PX', 2 * length)
return 1
