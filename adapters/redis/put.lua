-- Keeps a route unless one of a higher Rev is there already, which is the answer then.
-- ARGV: the route, which begins with its Rev; how long to keep it, in ms; the channel that
-- hears of it, and the sender's name, which comes before the route there.
local there = redis.call('GET', KEYS[1])
if there and tonumber(there:match('^%S+')) > tonumber(ARGV[1]:match('^%S+')) then
  return there
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
redis.call('PUBLISH', ARGV[3], ARGV[4] .. ARGV[1])
return ''
