-- What nobody could deliver is due again: a node has started, which may have the key that was missing.
local held = call('HGETALL', key('held'))
for nth = 1, #held, 2 do
  local user, owner = string.match(held[nth + 1], '^(.-)|(.*)$')
  call('ZADD', key('ob', owner), int(now), held[nth])
  refresh_owner({ us = user, ow = owner })
end
call('DEL', key('held'))
return #held / 2
