-- id, the request that asked for it (empty of one that can't be repeated), what that is answered with from now on -> 2 nothing is
-- known of it from now on, 1 it lives, 0 there is none
local job = load_job(ARGV[2])
if not job then
  -- A journal may be left: it goes later than a record that was purged.
  call('DEL', key('j', ARGV[2]))
  return 0
end
if job.st == PENDING or job.st == PROCESSING then
  return 1
end
local request = ARGV[3] ~= '' and key('req', ARGV[3])
local answer, of = answer_of(request)
if answer and of == job.id then
  call('HSET', request, 'a', ARGV[4], 'j', '')
end
remove_job(job)
tell(job.id)
return 2
