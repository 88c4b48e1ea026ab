-- ids... -> of each its state, how long ago it ended, and how many callbacks it owes; an empty state of one that is unknown
local known = {}
for nth = 2, #ARGV do
  local v = call('HMGET', key('job', ARGV[nth]), 'st', 'fa', 'pc')
  table.insert(known, { v[1] or '', int(math.max(now - (tonumber(v[2]) or now), 0)), v[3] or '0' })
end
return known
