-- by, then id and token of each lease -> held, stop, cancelled or lost for each
local states = {}
for nth = 3, #ARGV, 2 do
  local id, token = ARGV[nth], ARGV[nth + 1]
  local v = call('HMGET', key('job', id), 'st', 'tk', 'lp', 'so')
  if v[1] == PROCESSING and v[2] == token and not v[3] then
    call('ZADD', key('leases'), int(now + tonumber(ARGV[2])), id)
    call('HDEL', key('job', id), 'uc')
    table.insert(states, v[4] and 'stop' or 'held')
  elseif v[1] == CANCELLED then
    table.insert(states, 'cancelled')
  else
    table.insert(states, 'lost')
  end
end
return states
