-- list, before (exclusive, or +inf), at most -> of its jobs, newest first, each's place and its fields
local jobs = {}
local listed = call('ZREVRANGEBYSCORE', prefix .. ARGV[2], ARGV[3], '-inf', 'WITHSCORES', 'LIMIT', 0, ARGV[4])
for nth = 1, #listed, 2 do
  table.insert(jobs, { int(tonumber(listed[nth + 1])), call('HGETALL', key('job', listed[nth])) })
end
return jobs
