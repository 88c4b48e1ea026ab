#!lua flags=allow-oom
-- The live nodes that show an older version of the register than this.
-- KEYS: what all keys begin with. ARGV: 1 time, which is not asked for, 2 version.
-- Returns their names, or nothing if not even Redis knows that version.
local p = KEYS[1]
if tonumber(redis.call('HGET', p .. 'meta', 'register') or 0) < tonumber(ARGV[2]) then return false end
return redis.call('ZRANGEBYSCORE', p .. 'nodes:register', '-inf', '(' .. ARGV[2])
