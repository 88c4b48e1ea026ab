-- id -> whether there was such a live job, of which nothing is known from now on
local job = load_job(ARGV[2])
if not job or (job.st ~= PENDING and job.st ~= PROCESSING) then
  return 0
end
remove_live(job)
remove_job(job)
tell(job.id)
return 1
