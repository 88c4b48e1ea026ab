-- index, from, at most -> the jobs in it, newest first, each with its fields
local jobs = {}
for _, id in ipairs(call('ZREVRANGE', prefix .. ARGV[2], ARGV[3], ARGV[3] + ARGV[4] - 1)) do
  table.insert(jobs, call('HGETALL', key('job', id)))
end
return jobs
