-- Requests that may be repeated, each a hash: see ../keys.md.

-- What a request is answered with, and the job that it became.
local function answer_of(request)
  local v = request and call('HMGET', request, 'a', 'u', 'j') or {}
  if v[1] and now < tonumber(v[2]) then
    return v[1], v[3]
  end
end

-- It goes once nothing of it counts any more.
local function expire(request)
  local last = 0
  for _, time in ipairs(call('HMGET', request, 'l', 'ju', 'u')) do
    last = math.max(last, tonumber(time or 0))
  end
  call('PEXPIRE', request, int(last - now))
end

-- `job` is empty of one that became none.
local function keep_answer(request, answer, lasts, job)
  call('HDEL', request, 't', 'l', 'ju')
  call('HSET', request, 'a', answer, 'u', int(now + lasts), 'j', job)
  expire(request)
end
