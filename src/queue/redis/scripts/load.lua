-- id, whether its callbacks are wanted -> now, its fields, those callbacks, when its lease lapses
local hash = call('HGETALL', key('job', ARGV[2]))
local deliveries = ARGV[3] == '1' and call('HGETALL', key('dv', ARGV[2])) or {}
return { int(now), hash, deliveries, call('ZSCORE', key('leases'), ARGV[2]) or '' }
