-- id, token: every variant of a claimed job is made
local job = load_job(ARGV[2])
if job and job.st == PROCESSING and job.tk == ARGV[3] and not job.md then
  count_leased(job, -1)
  job.md = true
  count_leased(job, 1)
  call('HSET', key('job', job.id), 'md', '1')
  call('HINCRBY', key('job', job.id), 'rv', 1)
  -- A tenant of whom nothing is made any more may have the spare place.
  wake('spare')
end
return 1
