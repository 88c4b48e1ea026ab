#!lua flags=allow-oom
-- The live nodes: each beat has removed those that were gone by then.
-- KEYS: what all keys begin with. ARGV: 1 time in ms, or empty.
-- Returns of each: node, ms since its last beat, what it is.
local p = KEYS[1]
local now = tonumber(ARGV[1])
if not now then
    local time = redis.call('TIME')
    now = time[1] * 1000 + math.floor(time[2] / 1000)
end
local scores = redis.call('ZRANGE', p .. 'nodes', 0, -1, 'WITHSCORES')
local live = {}
for i = 1, #scores, 2 do
    local age = math.max(0, now - tonumber(scores[i + 1]))
    live[#live + 1] = {scores[i], age, redis.call('GET', p .. 'node:' .. scores[i]) or ''}
end
return live
