-- key -> what its request is answered with, the job that it became, and until when; nothing if it isn't
local request = key('req', ARGV[2])
local answer, job = answer_of(request)
return answer and { answer, job, tonumber(call('HGET', request, 'u')) }
