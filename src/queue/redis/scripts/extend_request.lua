-- key, token, lease, the job that it is about to become if that is known, how long that is remembered -> 1 if it is its still
local request = key('req', ARGV[2])
if call('HGET', request, 't') ~= ARGV[3] then
  return 0
end
call('HSET', request, 'l', int(now + ARGV[4]))
if ARGV[5] ~= '' then
  call('HSET', request, 'j', ARGV[5], 'ju', int(now + ARGV[6]))
end
expire(request)
return 1
