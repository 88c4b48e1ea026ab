-- at most -> jobs whose leases have lapsed, which can't be renewed from now on
local ids = call('ZRANGEBYSCORE', key('leases'), '-inf', int(now), 'LIMIT', 0, ARGV[2])
for _, id in ipairs(ids) do
  call('HSET', key('job', id), 'lp', '1')
end
return ids
