-- id, constants, place, changes, where it is (`r`, `d`, or `e`: it has ended), until when; key of its request, or nothing, what that is
-- answered with, until when; then as many pairs as said of fields, and callbacks: id, record, state, due, since, place in lists. One that is here already stays as it is.
local id, constants, place, av = ARGV[2], ARGV[3], ARGV[4], ARGV[6]
if call('EXISTS', key('job', id)) == 1 then
  return 0
end
local at = 11
local fields = { 'k', constants, 'sq', place, 'ch', ARGV[5], 'rv', 1 }
for nth = at + 1, at + 2 * tonumber(ARGV[at]) do
  table.insert(fields, ARGV[nth])
end
at = at + 2 * tonumber(ARGV[at])
call('HSET', key('job', id), unpack(fields))
local job = load_job(id)
list_always(job)
list_in(job, job.st)
if av == 'e' then
  call('ZADD', key('done'), call('HGET', key('job', id), 'fa'), id)
  -- Its original is not moved.
  call('HSET', key('job', id), 'cl', '1')
else
  call('ZADD', duplicates(job), place, id)
  count('depth', job.tn, 1)
  count('meta', 'live', 1)
  put_in(job, av, tonumber(ARGV[7]))
end
while at < #ARGV do
  put_delivery(job, unpack(ARGV, at + 1, at + 6))
  at = at + 6
end
if ARGV[8] ~= '' then
  keep_answer(key('req', ARGV[8]), ARGV[9], ARGV[10] - now, id)
end
-- New jobs come behind it.
local last = tonumber(call('HGET', key('meta'), 'place')) or 0
if tonumber(place) > last then
  call('HSET', key('meta'), 'place', place)
end
return 1
