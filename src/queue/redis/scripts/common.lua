-- What all scripts share. KEYS[1] is what all keys begin with; ARGV[1] is the time in milliseconds since the epoch, empty for
-- Redis' own. The keys are listed in ../keys.md.
local call = redis.call
local prefix = KEYS[1]

local function key(...)
  return prefix .. table.concat({ ... }, ':')
end

-- A number as Redis keeps it: Lua's own text of large ones is not exact.
local function int(number)
  return string.format('%.0f', number)
end

local now = tonumber(ARGV[1])
local micros
if now then
  micros = now * 1000
else
  local time = call('TIME')
  micros = time[1] * 1000000 + time[2]
  now = math.floor(micros / 1000)
end

local PENDING, PROCESSING, CANCELLED = '0', '1', '4'

-- What schedules a job. Its constants are one field: a hash costs memory for each.
local function load_job(id)
  local v = call('HMGET', key('job', id), 'k', 'st', 'sq', 'av', 'md', 'me', 'tk', 'rv', 'op', 'pc', 'so')
  if not v[1] then
    return nil
  end
  local job = {
    id = id, st = v[2], sq = v[3], av = v[4], md = v[5] == '1', me = tonumber(v[6]) or 0, tk = v[7], rv = v[8],
    op = v[9], pc = tonumber(v[10]) or 0, so = v[11],
  }
  job.ln, job.us, job.ow, job.tn, job.by, job.ca, job.h, job.rf, job.fp, job.v =
    string.match(v[1], '^(.-)|(.-)|(.-)|(.-)|(.-)|(.-)|(.-)|(.-)|(.-)|(.-)$')
  job.v = tonumber(job.v)
  return job
end

-- Lets one idle node look. More tokens than this would only be looked at in vain.
local function wake(what)
  local list = key('wake', what)
  if call('LLEN', list) < 64 then
    call('LPUSH', list, '1')
  end
end

local function count(name, field, by)
  if call('HINCRBY', key(name), field, by) == 0 then
    call('HDEL', key(name), field)
  end
end

-- Turns: who comes while the last in the row has only just been served goes before that one, once a turn.
local function join(row, served, who)
  local turn = call('HINCRBY', key('meta'), 'turn', 1)
  local last = call('ZREVRANGE', row, 0, 0)[1]
  if last and call('HGET', key('served'), served) == last then
    local place = call('ZSCORE', row, last)
    call('ZADD', row, place, who)
    call('ZADD', row, turn, last)
    call('HDEL', key('served'), served)
  else
    call('ZADD', row, turn, who)
  end
end

local function end_turn(row, served, who)
  if call('ZSCORE', row, who) then
    call('ZADD', row, call('HINCRBY', key('meta'), 'turn', 1), who)
    call('HSET', key('served'), served, who)
  end
end

local function lane_insert(job)
  local waiting = key('q', job.ln, job.ow)
  if call('EXISTS', waiting) == 0 then
    local owners = key('turns', job.ln, job.us)
    if call('EXISTS', owners) == 0 then
      join(key('turns', job.ln), job.ln, job.us)
    end
    join(owners, job.ln .. job.us, job.ow)
  end
  call('ZADD', waiting, job.sq, job.id)
end

local function lane_remove(job)
  local waiting = key('q', job.ln, job.ow)
  call('ZREM', waiting, job.id)
  if call('EXISTS', waiting) == 0 then
    local owners = key('turns', job.ln, job.us)
    call('ZREM', owners, job.ow)
    if call('EXISTS', owners) == 0 then
      call('ZREM', key('turns', job.ln), job.us)
    end
  end
end

local function duplicates(job)
  return key('dup', job.ow, job.by)
end

-- Whether it waits for an older job of the same bytes and owner.
local function is_held(job)
  local first = call('ZRANGE', duplicates(job), 0, 0)[1]
  return first and first ~= job.id
end

local function make_ready(job)
  if is_held(job) then
    return
  end
  if job.md then
    call('ZADD', key('made'), job.sq, job.id)
    wake('made')
  else
    lane_insert(job)
    wake('regular')
    wake('spare')
  end
end

local function unready(job)
  if is_held(job) then
    return
  end
  if job.md then
    call('ZREM', key('made'), job.id)
  else
    lane_remove(job)
  end
end

-- A leased job has a place while it is made.
local function count_leased(job, by)
  if job.md then
    count('meta', 'storing' .. job.ln, by)
  else
    count('meta', 'making' .. job.ln, by)
    count('making', job.us, by)
    count('making', job.tn, by)
  end
end

-- Takes a live job out of where it is; it comes in again somewhere else, or has ended.
local function take_out(job)
  if job.av == 'l' then
    call('ZREM', key('leases'), job.id)
    count_leased(job, -1)
  else
    call('ZREM', key('pending', job.ln), job.id)
    if job.av == 'd' then
      call('ZREM', key('delayed'), job.id)
    else
      unready(job)
    end
  end
  call('HDEL', key('short'), job.id)
end

-- Where a live job is from now on: r(eady), d(elayed) or l(eased), until then.
local function put_in(job, av, at)
  job.av = av
  call('HSET', key('job', job.id), 'av', av)
  if av == 'l' then
    call('ZADD', key('leases'), int(at), job.id)
    count_leased(job, 1)
    return
  end
  call('ZADD', key('pending', job.ln), job.sq, job.id)
  if av == 'd' then
    call('ZADD', key('delayed'), int(at), job.id)
  else
    make_ready(job)
  end
end

-- A job lives no more. The next of the same bytes and owner may be worked on from now on.
local function remove_live(job)
  take_out(job)
  count('depth', job.tn, -1)
  count('meta', 'live', -1)
  local was_held = is_held(job)
  call('ZREM', duplicates(job), job.id)
  if not was_held then
    local next_id = call('ZRANGE', duplicates(job), 0, 0)[1]
    local following = next_id and load_job(next_id)
    if following and following.av == 'r' then
      make_ready(following)
    end
  end
end

local function promote()
  for _, id in ipairs(call('ZRANGEBYSCORE', key('delayed'), '-inf', int(now), 'LIMIT', 0, 64)) do
    local job = load_job(id)
    if job then
      take_out(job)
      put_in(job, 'r')
    else
      call('ZREM', key('delayed'), id)
    end
  end
end

local function list_in(job, state)
  call('ZADD', key('ls', state), job.sq, job.id)
  call('ZADD', key('lo', job.ow, state), job.sq, job.id)
  call('ZADD', key('lu', job.us, state), job.sq, job.id)
end

-- Into the lists and look-ups that have every job, whatever its state.
local function list_always(job)
  call('ZADD', key('ls'), job.sq, job.id)
  call('ZADD', key('lo', job.ow), job.sq, job.id)
  call('ZADD', key('lu', job.us), job.sq, job.id)
  call('ZADD', key('hash', job.h), job.sq, job.id)
  if job.rf ~= '' then
    call('ZADD', key('ref', job.ow, job.rf), job.sq, job.id)
  end
end

local function unlist_always(job)
  call('ZREM', key('ls'), job.id)
  call('ZREM', key('lo', job.ow), job.id)
  call('ZREM', key('lu', job.us), job.id)
  call('ZREM', key('hash', job.h), job.id)
  if job.rf ~= '' then
    call('ZREM', key('ref', job.ow, job.rf), job.id)
  end
end

local function unlist(job, state)
  call('ZREM', key('ls', state), job.id)
  call('ZREM', key('lo', job.ow, state), job.id)
  call('ZREM', key('lu', job.us, state), job.id)
end

-- Callbacks. Of each, `dv:<job>` has the record and, under m<id>, its state and how it is listed.
local function refresh_owner(job)
  local first = call('ZRANGE', key('ob', job.ow), 0, 0, 'WITHSCORES')
  local member = job.us .. '|' .. job.ow
  if first[1] then
    call('ZADD', key('ob'), first[2], member)
  else
    call('ZREM', key('ob'), member)
  end
end

local function unlist_delivery(job, id)
  local listed = call('HGET', key('dv', job.id), 'm' .. id)
  if not listed then
    return
  end
  local state, member = string.sub(listed, 1, 1), string.sub(listed, 2)
  call('ZREM', key('dl', state), member)
  call('ZREM', key('dl', 'u', job.us, state), member)
  call('ZREM', key('dl', 'o', job.ow, state), member)
  if state == 'p' then
    call('ZREM', key('ob', job.ow), id)
    refresh_owner(job)
    call('ZREM', key('oldest'), id)
    call('HDEL', key('held'), id)
    job.pc = call('HINCRBY', key('job', job.id), 'pc', -1)
  end
end

-- `due` is empty of one that is not owed, and `held` of one that waits until a node starts.
local function put_delivery(job, id, record, state, due, since, member)
  unlist_delivery(job, id)
  call('HSET', key('dv', job.id), id, record, 'm' .. id, state .. member)
  call('ZADD', key('dl', state), 0, member)
  call('ZADD', key('dl', 'u', job.us, state), 0, member)
  call('ZADD', key('dl', 'o', job.ow, state), 0, member)
  if state == 'p' then
    if due == 'held' then
      due = '+inf'
      call('HSET', key('held'), id, job.us .. '|' .. job.ow)
    elseif tonumber(due) <= now then
      wake('callback')
    end
    call('ZADD', key('ob', job.ow), due, id)
    refresh_owner(job)
    call('ZADD', key('oldest'), since, id)
    job.pc = call('HINCRBY', key('job', job.id), 'pc', 1)
  end
end

local function remove_delivery(job, id)
  unlist_delivery(job, id)
  call('HDEL', key('dv', job.id), id, 'm' .. id)
end

-- Takes all that is known of a job away.
local function remove_job(job)
  for _, field in ipairs(call('HKEYS', key('dv', job.id))) do
    if string.sub(field, 1, 1) ~= 'm' then
      remove_delivery(job, field)
    end
  end
  unlist(job, job.st)
  unlist_always(job)
  call('ZREM', key('done'), job.id)
  call('DEL', key('job', job.id), key('dv', job.id), key('j', job.id))
end

-- The journal of an ended job: whoever names what was stored late reads it still.
local function expire_journal(job_id)
  call('PEXPIRE', key('j', job_id), 3600000)
end

local function tell(job_id)
  call('PUBLISH', key('changed'), job_id)
end
