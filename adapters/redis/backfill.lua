-- Seeds the window of a key as domain.Window does. ARGV: when the first use was, in ms;
-- the length in ms; the uses.
local first, length, used = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local kept = redis.call('GET', KEYS[1])
if not kept then
  redis.call('SET', KEYS[1], struct.pack('<ddB', first, used, 1), 'PX', 2 * length)
  return 1
end
local start, had, seeded = struct.unpack('<ddB', kept)
if seeded == 1 then
  return 1
end
if used > 0 then
  start, had = math.min(start, first), had + used
end
redis.call('SET', KEYS[1], struct.pack('<ddB', start, had, 1), 'KEEPTTL')
return 1
