-- key, token, lease -> answered with what; in flight; or begun, with the job that an earlier one was about to become
local request, token = key('req', ARGV[2]), ARGV[3]
local answer = answer_of(request)
if answer then
  return { 'answered', answer }
end
local v = call('HMGET', request, 't', 'l', 'j', 'ju')
if v[1] and v[1] ~= token and now < tonumber(v[2]) then
  return { 'in flight' }
end
local earlier = v[4] and now < tonumber(v[4]) and v[3] or ''
call('HDEL', request, 'a', 'u')
if earlier == '' then
  call('HDEL', request, 'j', 'ju')
end
call('HSET', request, 't', token, 'l', int(now + ARGV[4]))
expire(request)
return { 'begun', earlier }
