-- Counts uses in windows, as domain.Window does. For each key, ARGV[1] holds four doubles: the time and the length in ms,
-- the limit, and the number of uses. The answer holds three doubles for each key: flags (1: allowed, 2: backfilled), the
-- uses of the window, and its start. A window is stored as two doubles, its start and its uses, and a byte, 1 if it was
-- backfilled.
local call, pack, unpack = redis.call, struct.pack, struct.unpack
local answers, next = {}, 1
for i = 1, #KEYS do
  local key, at, length, limit, n = KEYS[i]
  at, length, limit, n, next = unpack('<dddd', ARGV[1], next)
  local start, used, backfilled, flags, open = at, 0, 0, 0, false
  local kept = call('GET', key)
  if kept then
    local began, had, mark = unpack('<ddB', kept)
    if at >= began + 2 * length then
      call('DEL', key)
    else
      flags, backfilled, open = 2 * mark, mark, at < began + length
      if open then
        start, used = began, had
      end
    end
  end
  if n <= 0 or used + n <= limit then
    flags = flags + 1
    if open and n ~= 0 then
      used = math.max(used + n, 0)
      call('SET', key, pack('<ddB', start, used, backfilled), 'KEEPTTL')
    elseif n > 0 then
      used = n
      call('SET', key, pack('<ddB', start, used, backfilled), 'PX', 2 * length)
    end
  end
  answers[i] = pack('<ddd', flags, used, start)
end
return table.concat(answers)
