-- at most -> how many used tokens were forgotten that nobody takes any more
local tokens = call('ZRANGEBYSCORE', key('once', 'end'), '-inf', '(' .. int(now), 'LIMIT', 0, ARGV[2])
for _, token in ipairs(tokens) do
  call('HDEL', key('once'), token)
  call('ZREM', key('once', 'end'), token)
end
return #tokens
