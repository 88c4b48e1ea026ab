-- id, the revision that was decided on, the change's name, where the job goes (`-`: it stays, `r`, `d`, `e`: it has ended),
-- when it is due, whether only if its lease has lapsed, how many changes are counted; then as many pairs as said of fields to set, as many fields to remove,
-- and callbacks: id, record (empty: removed), state, due, since, place in lists
local job = load_job(ARGV[2])
if not job then
  return 'conflict'
end
-- An answer was lost, and the call came again.
if job.op == ARGV[4] then
  return 'applied'
end
if job.rv ~= ARGV[3] then
  return 'conflict'
end
if ARGV[7] == '1' then
  local expires = call('ZSCORE', key('leases'), job.id)
  if not expires or tonumber(expires) > now then
    return 'conflict'
  end
end
local hash, at = key('job', job.id), 9
local sets = tonumber(ARGV[at])
local fields = { 'op', ARGV[4], 'rv', int(tonumber(job.rv) + 1) }
for nth = at + 1, at + 2 * sets do
  table.insert(fields, ARGV[nth])
end
at = at + 2 * sets + 1
local removed = { unpack(ARGV, at + 1, at + tonumber(ARGV[at])) }
at = at + tonumber(ARGV[at])

local before, target, had_place = job.st, ARGV[5], job.av == 'l' and not job.md
if target == 'e' then
  remove_live(job)
elseif target ~= '-' then
  take_out(job)
end
call('HSET', hash, unpack(fields))
if #removed > 0 then
  call('HDEL', hash, unpack(removed))
end
job = load_job(job.id)
if job.st ~= before then
  unlist(job, before)
  list_in(job, job.st)
end
if target == 'e' then
  expire_journal(job.id)
  call('ZADD', key('done'), call('HGET', hash, 'fa'), job.id)
  call('HDEL', hash, 'av', 'uc', 'lp')
elseif target ~= '-' then
  put_in(job, target, tonumber(ARGV[6]))
end
while at < #ARGV do
  if ARGV[at + 2] == '' then
    remove_delivery(job, ARGV[at + 1])
  else
    put_delivery(job, unpack(ARGV, at + 1, at + 6))
  end
  at = at + 6
end
-- Counted apart: what is noted in the journal counts, too, and is no reason to decide anew.
call('HINCRBY', hash, 'ch', ARGV[8])
tell(job.id)
-- A tenant of whom nothing is made any more may have the spare place.
if had_place and job.av ~= 'l' then
  wake('spare')
end
return 'applied'
