#!lua flags=allow-oom
-- A node's sign of life, or its goodbye, and what it then knows of all. What that is lies in one hash and changes seldom: in a
-- steady state six commands are called, and one score is written.
-- KEYS: what all keys begin with. ARGV: 1 time in ms, or empty, 2 node, 3 what it is, as text, or empty if it leaves, 4 "1" if
-- it takes uploads, 5 "1" if it takes jobs, 6 "1" if it may lead, 7 newest record format that it reads, 8 register's version
-- that it shows, 9 ms of silence after which a node is gone, 10 ms that a lead lasts, 11 installation, 12 schema, 13 name for
-- this incarnation if it has none.
-- Returns the installation, and if that is the node's, in a list of its own: time in ms, incarnation, leader, how many
-- nodes are live, how many take uploads, how many jobs, the newest record format that all read, the register's version.
local p, id = KEYS[1], ARGV[2]
local now = tonumber(ARGV[1])
if not now then
    local time = redis.call('TIME')
    now = time[1] * 1000 + math.floor(time[2] / 1000)
end
local gone_ms, lead_ms = tonumber(ARGV[9]), tonumber(ARGV[10])
local nodes, meta = p .. 'nodes', p .. 'meta'

local known = redis.call('HMGET', meta, 'installation', 'incarnation', 'schema', 'register', 'leader', 'leads_until',
    'silent_ms', 'heard_again', 'nodes', 'api', 'workers', 'format')
local installation, incarnation, schema = known[1] or ARGV[11], known[2] or ARGV[13], known[3] or ARGV[12]
if installation ~= ARGV[11] then return {installation, false} end
if not known[1] or not known[2] or not known[3] then
    redis.call('HSET', meta, 'installation', installation, 'incarnation', incarnation, 'schema', schema)
end

local is_news = not known[9]
local function forget(ids)
    for _, gone in ipairs(ids) do
        redis.call('DEL', p .. 'node:' .. gone)
        for _, key in ipairs({':api', ':worker'}) do redis.call('SREM', nodes .. key, gone) end
        for _, key in ipairs({'', ':format', ':register'}) do redis.call('ZREM', nodes .. key, gone) end
        is_news = true
    end
end

-- When nobody was heard for a while, it was Redis that was away: that time counts against nobody.
local silent, heard_again = tonumber(known[7]) or 0, tonumber(known[8]) or 0
local last = tonumber(redis.call('ZREVRANGE', nodes, 0, 0, 'WITHSCORES')[2]) or now
if now - last > gone_ms / 2 then
    silent = now - last + (last - heard_again <= gone_ms and silent or 0)
    heard_again = now
    redis.call('HSET', meta, 'silent_ms', silent, 'heard_again', heard_again)
end
if now - heard_again > gone_ms then silent = 0 end
forget(redis.call('ZRANGEBYSCORE', nodes, '-inf', string.format('(%.0f', now - gone_ms - silent)))
-- Redis' clock was set back: who lives comes again.
if last > now + gone_ms then forget(redis.call('ZRANGEBYSCORE', nodes, string.format('(%.0f', now), '+inf')) end

if ARGV[3] == '' then
    forget({id})
else
    redis.call('ZADD', nodes, now, id)
    if redis.call('GET', p .. 'node:' .. id) ~= ARGV[3] then
        redis.call('SET', p .. 'node:' .. id, ARGV[3])
        redis.call(ARGV[4] == '1' and 'SADD' or 'SREM', nodes .. ':api', id)
        redis.call(ARGV[5] == '1' and 'SADD' or 'SREM', nodes .. ':worker', id)
        redis.call('ZADD', nodes .. ':format', ARGV[7], id)
        redis.call('ZADD', nodes .. ':register', ARGV[8], id)
        is_news = true
    end
end

local leader, ends = known[5], tonumber(known[6]) or 0
if ends <= now or ends > now + lead_ms then leader = false end
if ARGV[6] == '1' and (not leader or leader == id) then
    leader = id
    redis.call('HSET', meta, 'leader', id, 'leads_until', now + lead_ms)
elseif leader == id then
    leader = false
    redis.call('HDEL', meta, 'leader', 'leads_until')
end

if is_news then
    local oldest = redis.call('ZRANGE', nodes .. ':format', 0, 0, 'WITHSCORES')
    known[9], known[10] = redis.call('ZCARD', nodes), redis.call('SCARD', nodes .. ':api')
    known[11], known[12] = redis.call('SCARD', nodes .. ':worker'), oldest[2] or '0'
    redis.call('HSET', meta, 'nodes', known[9], 'api', known[10], 'workers', known[11], 'format', known[12])
end
return {installation, {
    now, incarnation, leader,
    tonumber(known[9]), tonumber(known[10]), tonumber(known[11]), tonumber(known[12]), tonumber(known[4] or 0),
}}
