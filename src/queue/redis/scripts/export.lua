-- place behind which it begins (`(1`, or `-inf`), at most -> jobs, the oldest first: of each its place, its fields, its callbacks
local listed = call('ZRANGEBYSCORE', key('ls'), ARGV[2], '+inf', 'WITHSCORES', 'LIMIT', 0, ARGV[3])
local jobs = {}
for nth = 1, #listed, 2 do
  local id = listed[nth]
  table.insert(jobs, { int(tonumber(listed[nth + 1])), call('HGETALL', key('job', id)), call('HGETALL', key('dv', id)) })
end
return jobs
