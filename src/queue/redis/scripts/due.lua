-- at most, hidden for -> callbacks that are due, each with its record, and milliseconds until the next is, empty if none is:
-- users in turn, inside a user its owners, of each the longest due first
local limit, hidden_until = tonumber(ARGV[2]), int(now + tonumber(ARGV[3]))
-- So many owners take turns at once: behind them, what is due waits for the next call.
local OWNERS_AT_MOST = 1024
local users, row_of, taken = {}, {}, {}
for _, member in ipairs(call('ZRANGEBYSCORE', key('ob'), '-inf', int(now), 'LIMIT', 0, OWNERS_AT_MOST)) do
  local user, owner = string.match(member, '^(.-)|(.*)$')
  if not row_of[user] then
    table.insert(users, {})
    row_of[user] = users[#users]
  end
  table.insert(row_of[user], { us = user, ow = owner })
end
local found = true
while found and #taken < limit do
  found = false
  for _, owners in ipairs(users) do
    local first = #taken < limit and table.remove(owners, 1)
    if first then
      local id = call('ZRANGEBYSCORE', key('ob', first.ow), '-inf', int(now), 'LIMIT', 0, 1)[1]
      if id then
        call('ZADD', key('ob', first.ow), hidden_until, id)
        table.insert(taken, { id, call('HGET', key('dv', string.sub(id, 1, 36)), id) or '' })
        table.insert(owners, first)
      else
        refresh_owner(first)
      end
      found = true
    end
  end
end
for _, owners in ipairs(users) do
  for _, owner in ipairs(owners) do
    refresh_owner(owner)
  end
end
local next_due = call('ZRANGE', key('ob'), 0, 0, 'WITHSCORES')[2]
if next_due == 'inf' then
  next_due = nil
end
return { taken, next_due and int(math.max(tonumber(next_due) - now, 0)) or '' }
