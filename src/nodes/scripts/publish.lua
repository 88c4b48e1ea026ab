#!lua flags=allow-oom
-- Makes a new version of the register known. Whether the lock is still held is judged by its token, not by time: a lease that
-- has run out does no harm while nobody else took the lock. Versions rise, also over an emptied Redis. Said twice, there are
-- two versions, of which the later counts.
-- KEYS: what all keys begin with. ARGV: 1 time in ms, or empty, 2 token.
-- Returns the version, or 0 if the lock is another's or forgotten.
local p = KEYS[1]
local micros
if ARGV[1] ~= '' then
    micros = tonumber(ARGV[1]) * 1000
else
    local time = redis.call('TIME')
    micros = time[1] * 1000000 + time[2]
end
if tonumber(redis.call('HGET', p .. 'register:lock', 'token')) ~= tonumber(ARGV[2]) then return 0 end
local version = math.max(tonumber(redis.call('HGET', p .. 'meta', 'register') or 0) + 1, micros)
redis.call('HSET', p .. 'meta', 'register', string.format('%.0f', version))
return version
