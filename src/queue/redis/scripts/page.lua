-- list, before (exclusive, or +inf), at most -> jobs, newest first
local jobs = {}
for _, id in ipairs(call('ZREVRANGEBYSCORE', prefix .. ARGV[2], ARGV[3], '-inf', 'LIMIT', 0, ARGV[4])) do
  table.insert(jobs, call('HGETALL', key('job', id)))
end
return jobs
