-- lease, tokens...
promote()
local claimed = {}
for nth = 3, #ARGV do
  local id = call('ZRANGE', key('made'), 0, 0)[1]
  local job = id and load_job(id)
  if not job then
    break
  end
  table.insert(claimed, { id, lease(job, ARGV[nth], tonumber(ARGV[2])) })
end
return { next_due(), claimed }
