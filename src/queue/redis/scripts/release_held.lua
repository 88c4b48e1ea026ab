-- Some of what nobody could deliver is due again: a node has started, which may have the key that was missing. Answers how much.
local held = call('HRANDFIELD', key('held'), 200, 'WITHVALUES')
for nth = 1, #held, 2 do
  local user, owner = string.match(held[nth + 1], '^(.-)|(.*)$')
  call('ZADD', key('ob', owner), int(now), held[nth])
  refresh_owner({ us = user, ow = owner })
  call('HDEL', key('held'), held[nth])
end
if #held > 0 then
  wake('callback')
end
return #held / 2
