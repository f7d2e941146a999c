-- Takes from windows as domain.Window does. For each key, ARGV[1] has four doubles: the
-- time and the length in ms, the limit, and how many. The answer has three for each: 1 if
-- they are allowed plus 2 if the key was seeded, the uses, and when the window began.
-- A window is kept as two doubles, when it began and the uses, and a byte, 1 if seeded.
local call, pack, unpack = redis.call, struct.pack, struct.unpack
local answers, next = {}, 1
for i = 1, #KEYS do
  local key, at, length, limit, n = KEYS[i]
  at, length, limit, n, next = unpack('<dddd', ARGV[1], next)
  local start, used, seeded, flags, runs = at, 0, 0, 0, false
  local kept = call('GET', key)
  if kept then
    local began, had, mark = unpack('<ddB', kept)
    if at >= began + 2 * length then
      call('DEL', key)
    else
      flags, seeded, runs = 2 * mark, mark, at < began + length
      if runs then
        start, used = began, had
      end
    end
  end
  if n <= 0 or used + n <= limit then
    flags = flags + 1
    if runs and n ~= 0 then
      used = math.max(used + n, 0)
      call('SET', key, pack('<ddB', start, used, seeded), 'KEEPTTL')
    elseif n > 0 then
      used = n
      call('SET', key, pack('<ddB', start, used, seeded), 'PX', 2 * length)
    end
  end
  answers[i] = pack('<ddd', flags, used, start)
end
return table.concat(answers)
