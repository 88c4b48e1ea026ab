-- ended longer ago than this, from, at most -> how many were looked at, how many removed
local ids = call('ZRANGEBYSCORE', key('done'), '-inf', '(' .. int(now - tonumber(ARGV[2])), 'LIMIT', ARGV[3], ARGV[4])
local removed = 0
for _, id in ipairs(ids) do
  local job = load_job(id)
  if not job then
    call('ZREM', key('done'), id)
  elseif job.pc == 0 then
    remove_job(job)
    removed = removed + 1
  end
end
return { #ids, removed }
