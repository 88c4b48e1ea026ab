-- at most, hidden for, newest format that is read -> callbacks that are due, each with its record, and milliseconds until the
-- next is, empty if none is:
-- users in turn, inside a user its owners, of each the longest due first
local limit, hidden_until, newest = tonumber(ARGV[2]), int(now + tonumber(ARGV[3])), tonumber(ARGV[4])
-- What is of a newer release is for a node of that, which looks within this.
local PASSED_FOR, PASSED_AT_MOST = 2000, 64
local passed = 0
-- Owners that take turns at once: behind them, what is due waits for the next call.
local owners_at_most, changed = math.max(4 * limit, 64), {}
local users, row_of, taken = {}, {}, {}
for _, member in ipairs(call('ZRANGEBYSCORE', key('ob'), '-inf', int(now), 'LIMIT', 0, owners_at_most)) do
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
    local first = #taken < limit and passed < PASSED_AT_MOST and table.remove(owners, 1)
    if first then
      local id = call('ZRANGEBYSCORE', key('ob', first.ow), '-inf', int(now), 'LIMIT', 0, 1)[1]
      if id then
        local job_id = string.sub(id, 1, 36)
        local job = load_job(job_id)
        if job and job.v > newest then
          call('ZADD', key('ob', first.ow), int(now + PASSED_FOR), id)
          passed = passed + 1
        else
          call('ZADD', key('ob', first.ow), hidden_until, id)
          table.insert(taken, { id, call('HGET', key('dv', job_id), id) or '' })
        end
        table.insert(owners, first)
      end
      changed[first.ow] = first
      found = true
    end
  end
end
for _, owner in pairs(changed) do
  refresh_owner(owner)
end
local next_due = call('ZRANGE', key('ob'), 0, 0, 'WITHSCORES')[2]
if next_due == 'inf' then
  next_due = nil
end
return { taken, next_due and int(math.max(tonumber(next_due) - now, 0)) or '' }
