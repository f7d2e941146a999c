-- Adds earlier uses to the window of a key once, as domain.Window does. ARGV: the time of the first use in ms, the length of
-- the window in ms, the number of uses.
local first, length, used = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local kept = redis.call('GET', KEYS[1])
if not kept then
  redis.call('SET', KEYS[1], struct.pack('<ddB', first, used, 1), 'PX', 2 * length)
  return 1
end
local start, had, backfilled = struct.unpack('<ddB', kept)
if backfilled == 1 then
  return 1
end
if used > 0 then
  start, had = math.min(start, first), had + used
end
redis.call('SET', KEYS[1], struct.pack('<ddB', start, had, 1), 'KEEPTTL')
return 1
