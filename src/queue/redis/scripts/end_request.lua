-- key, token, 1 if its job is to be remembered -> 1 if it was its still
local request = key('req', ARGV[2])
if call('HGET', request, 't') ~= ARGV[3] then
  return 0
end
if ARGV[4] == '1' and call('HEXISTS', request, 'ju') == 1 then
  call('HDEL', request, 't', 'l')
  expire(request)
else
  call('DEL', request)
end
return 1
