-- id, constants, memory, record, digest of its token, when that ends, live jobs at most, those of a tenant at most, key of its
-- request, what that is answered with, for how long, the job that it runs again (empty: none)
local id, constants, memory, record, token, token_end = ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7]
if call('EXISTS', key('job', id)) == 1 then
  return { 'known' }
end
local lane, user, owner, tenant, bytes, _, hash, reference, fingerprint =
  string.match(constants, '^(.-)|(.-)|(.-)|(.-)|(.-)|(.-)|(.-)|(.-)|(.-)|')
local request = ARGV[10] ~= '' and key('req', ARGV[10])
local answer, by = answer_of(request)
-- A job whose record was lost comes again from the spool: it is what its request was answered with.
if answer and by ~= id then
  return { 'repeated', answer }
end
if token ~= '' then
  local by = call('HGET', key('once'), token)
  -- A job whose record was lost comes again from the spool: it is what the token was used for.
  if by and by ~= id then
    return { 'token', by }
  end
end
local retried = ARGV[13]
local by = retried ~= '' and call('HGET', key('job', retried), 'ra')
if by and by ~= id then
  return { 'retried', by }
end
local newest = call('ZREVRANGE', key('dup', owner, bytes), 0, 0)[1]
local live = newest and load_job(newest)
-- It waits for one that asks for something else.
if live and (fingerprint == '' or fingerprint == live.fp) then
  return { 'duplicate', newest, call('HGETALL', key('job', newest)) }
end
local depth = tonumber(call('HGET', key('meta'), 'live')) or 0
if depth >= tonumber(ARGV[8]) then
  return { 'full', int(depth) }
end
depth = tonumber(call('HGET', key('depth'), tenant)) or 0
if depth >= tonumber(ARGV[9]) then
  return { 'owner full', int(depth) }
end

-- Above the last one, and above all that an emptied Redis gave out.
local place = math.max((tonumber(call('HGET', key('meta'), 'place')) or 0) + 1, micros)
call('HSET', key('meta'), 'place', int(place))
call('HSET', key('job', id), 'k', constants, 'r', record, 'st', PENDING, 'sq', int(place), 'me', memory, 'ch', 1, 'rv', 1)
local job = load_job(id)
list_always(job)
list_in(job, PENDING)
if token ~= '' then
  call('HSET', key('once'), token, id)
  call('ZADD', key('once', 'end'), token_end, token)
end
if request then
  keep_answer(request, ARGV[11], ARGV[12], id)
end
call('ZADD', duplicates(job), job.sq, id)
count('depth', tenant, 1)
count('meta', 'live', 1)
put_in(job, 'r')
-- In the same step: a job is run again once, whatever is killed.
if retried ~= '' and call('EXISTS', key('job', retried)) == 1 then
  call('HSET', key('job', retried), 'ra', id)
  call('HINCRBY', key('job', retried), 'ch', 1)
  tell(retried)
end
tell(id)
return { 'created' }
