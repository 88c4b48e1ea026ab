-- id, token, for how long: gives a claimed job back that this node can't read; the attempt doesn't count
local job = load_job(ARGV[2])
if not job or job.st ~= PROCESSING or job.tk ~= ARGV[3] then
  return 0
end
local hash = key('job', job.id)
take_out(job)
call('HSET', hash, 'st', PENDING)
call('HINCRBY', hash, 'at', -1)
call('HINCRBY', hash, 'rv', 1)
call('HDEL', hash, 'uc')
unlist(job, PROCESSING)
list_in(job, PENDING)
put_in(job, 'd', now + tonumber(ARGV[4]))
return 1
