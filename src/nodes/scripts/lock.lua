#!lua flags=allow-oom
-- Takes the lock on the register, or says how long it is still held. Tokens rise, also over an emptied Redis. Who asks twice
-- for one and the same holding gets the same token.
-- KEYS: what all keys begin with. ARGV: 1 time in ms, or empty, 2 holding, 3 lease in ms.
-- Returns: 1 and the token, or 0 and ms.
local key, holding = KEYS[1] .. 'register:lock', ARGV[2]
local now, micros = tonumber(ARGV[1]), nil
if now then
    micros = now * 1000
else
    local time = redis.call('TIME')
    now, micros = time[1] * 1000 + math.floor(time[2] / 1000), time[1] * 1000000 + time[2]
end
local lock = redis.call('HMGET', key, 'holding', 'token', 'until')
local token, left = tonumber(lock[2]) or 0, (tonumber(lock[3]) or 0) - now
if left > 0 and lock[1] ~= holding then return {0, left} end
if lock[1] ~= holding then token = math.max(token + 1, micros) end
redis.call('HSET', key, 'holding', holding, 'token', token, 'until', now + tonumber(ARGV[3]))
return {1, token}
