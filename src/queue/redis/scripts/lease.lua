-- Until its holder has confirmed that it has the answer, a claim is for no longer than this.
local UNCONFIRMED = 10000

-- Gives a waiting job out; answers all that is known of it.
local function lease(job, token, wait)
  if not job.md then
    call('HSET', key('meta'), 'run', job.ln == '0' and (tonumber(call('HGET', key('meta'), 'run')) or 0) + 1 or 0)
    end_turn(key('turns', job.ln), job.ln, job.us)
    end_turn(key('turns', job.ln, job.us), job.ln .. job.us, job.ow)
  end
  take_out(job)
  local hash = key('job', job.id)
  call('HSET', hash, 'st', PROCESSING, 'tk', token, 'uc', '1')
  call('HSETNX', hash, 'sa', int(now))
  call('HINCRBY', hash, 'at', 1)
  call('HINCRBY', hash, 'ch', 1)
  call('HINCRBY', hash, 'rv', 1)
  call('HDEL', hash, 'nb', 'wt', 'lp', 'so')
  unlist(job, PENDING)
  list_in(job, PROCESSING)
  put_in(job, 'l', now + math.min(wait, UNCONFIRMED))
  tell(job.id)
  return call('HGETALL', hash)
end
