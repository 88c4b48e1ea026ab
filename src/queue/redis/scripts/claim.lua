-- place, memory left, memory of this node, lease, realtime run at most, longest pass, tokens...
local is_spare, memory, total = ARGV[2] == 'spare', tonumber(ARGV[3]), tonumber(ARGV[4])
promote()
local claimed, least = {}, nil
for nth = 8, #ARGV do
  local job
  job, least = choose(is_spare, memory, total, tonumber(ARGV[6]), tonumber(ARGV[7]), true)
  if not job then
    break
  end
  memory = memory - job.me
  table.insert(claimed, { job.id, lease(job, ARGV[nth], tonumber(ARGV[5])) })
end
return { least and int(least) or '', int(memory), next_due(), claimed }
