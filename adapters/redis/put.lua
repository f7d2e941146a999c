-- Stores a route and publishes it, unless the stored route has a higher Rev; then it returns the stored route. ARGV: the
-- route, which begins with its Rev; its time to live in ms; the channel; the id of the sender and the tag of the message.
local stored = redis.call('GET', KEYS[1])
if stored and tonumber(stored:match('^%S+')) > tonumber(ARGV[1]:match('^%S+')) then
  return stored
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
redis.call('PUBLISH', ARGV[3], ARGV[4] .. ARGV[1])
return ''
