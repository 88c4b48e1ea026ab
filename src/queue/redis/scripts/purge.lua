-- ended longer ago than this, from, at most -> how many were looked at, how many removed, how many stay
-- A record that goes before its original lets that come back as a new job: the comparison says when it can't any more. Those of
-- cancelled jobs are moved before their owners have an answer. A spool that can't be cleaned for so long keeps no record.
local KEPT_AT_MOST = 7 * 24 * 3600 * 1000
local function may_go(job)
  local v = call('HMGET', key('job', job.id), 'cl', 'fa')
  return v[1] or job.st == CANCELLED or now - tonumber(v[2]) > tonumber(ARGV[2]) + KEPT_AT_MOST
end

local ids = call('ZRANGEBYSCORE', key('done'), '-inf', '(' .. int(now - tonumber(ARGV[2])), 'LIMIT', ARGV[3], ARGV[4])
local removed, kept = 0, 0
for _, id in ipairs(ids) do
  local job = load_job(id)
  if not job then
    call('ZREM', key('done'), id)
  elseif job.pc == 0 and may_go(job) then
    remove_job(job)
    removed = removed + 1
  else
    kept = kept + 1
  end
end
return { #ids, removed, kept }
