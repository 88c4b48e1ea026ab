-- -> jobs by state, then of each lane those that wait, are made and are stored, and when the oldest of those that wait was
-- accepted; callbacks that are owed, and since when the oldest
local status = {}
for state = 0, 4 do
  table.insert(status, call('ZCARD', key('ls', state)))
end
for lane = 0, 1 do
  local counts = call('HMGET', key('meta'), 'making' .. lane, 'storing' .. lane)
  local first = call('ZRANGE', key('pending', lane), 0, 0)[1]
  local oldest = first and load_job(first)
  table.insert(status, call('ZCARD', key('pending', lane)))
  table.insert(status, tonumber(counts[1]) or 0)
  table.insert(status, tonumber(counts[2]) or 0)
  table.insert(status, oldest and tonumber(oldest.ca) or -1)
end
local first = call('ZRANGE', key('oldest'), 0, 0, 'WITHSCORES')[2]
table.insert(status, call('ZCARD', key('oldest')))
table.insert(status, first and tonumber(first) or -1)
return status
