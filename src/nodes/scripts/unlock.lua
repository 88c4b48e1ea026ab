#!lua flags=allow-oom
-- Gives the lock on the register back, if it is this one. Its token stays, so that the next is larger.
-- KEYS: what all keys begin with. ARGV: 1 time, which is not asked for, 2 token.
local key = KEYS[1] .. 'register:lock'
if tonumber(redis.call('HGET', key, 'token')) ~= tonumber(ARGV[2]) then return 0 end
redis.call('HSET', key, 'holding', '', 'until', 0)
return 1
