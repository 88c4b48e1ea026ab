-- lease, newest format that is read, tokens...
promote()
local claimed, nth, newest = {}, 4, tonumber(ARGV[3])
for _, id in ipairs(call('ZRANGE', key('made'), 0, #ARGV - 4 + 64)) do
  local job = nth <= #ARGV and load_job(id)
  -- What is of a newer release is for a node of that.
  if job and job.v <= newest then
    table.insert(claimed, { id, lease(job, ARGV[nth], tonumber(ARGV[2])) })
    nth = nth + 1
  end
end
return { next_due(), claimed }
