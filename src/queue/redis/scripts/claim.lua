-- place, memory left, memory of this node, lease, realtime run at most, longest pass, newest format that is read, tokens...
local is_spare, memory = ARGV[2] == 'spare', tonumber(ARGV[3])
local limits = { total = tonumber(ARGV[4]), newest = tonumber(ARGV[8]) }
promote()
local claimed, least = {}, nil
for nth = 9, #ARGV do
  local job
  job, least = choose(is_spare, memory, limits, tonumber(ARGV[6]), tonumber(ARGV[7]), true)
  if not job then
    break
  end
  memory = memory - job.me
  table.insert(claimed, { job.id, lease(job, ARGV[nth], tonumber(ARGV[5])) })
end
return { least and int(least) or '', int(memory), next_due(), claimed }
