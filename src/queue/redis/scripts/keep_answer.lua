-- key, token, what it is answered with, for how long -> 1 if it was its still
local request = key('req', ARGV[2])
if call('HGET', request, 't') ~= ARGV[3] then
  return 0
end
keep_answer(request, ARGV[4], ARGV[5], '')
return 1
