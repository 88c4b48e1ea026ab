-- Whose turn it is, and what the memory at hand allows.

-- So many owners whose jobs this node can make are looked at in one claim, and so many others: each costs some µs, for which all
-- nodes wait. What fits behind them waits until some of these are gone.
local LOOKED_AT_MOST = 64
local PASSED_AT_MOST = 512
local PAGE = 64

-- Calls `visit` with everyone in a row, whose turn is next first, until it answers true.
local function each_in(row, visit)
  local from, size = 0, 1
  while true do
    local page = call('ZRANGE', row, from, from + size - 1)
    for _, who in ipairs(page) do
      if visit(who) then
        return true
      end
    end
    if #page < size then
      return false
    end
    from, size = from + size, PAGE
  end
end

-- Calls `visit` with the first job of every owner of those users, in the order of their turns, one lane after the other.
local function each_first(lanes, limits, is_of, visit)
  for _, lane in ipairs(lanes) do
    local looked, passed, found = 0, 0, false
    each_in(key('turns', lane), function(user)
      if not is_of(user) then
        return false
      end
      return each_in(key('turns', lane, user), function(owner)
        local id = call('ZRANGE', key('q', lane, owner), 0, 0)[1]
        local job = id and load_job(id)
        -- What takes more memory than this node has, or is of a newer release, is for others, and so is what its owner has
        -- behind it: an owner's jobs are given out in their order.
        if not job or job.me > limits.total or job.v > limits.newest then
          passed = passed + 1
          return passed >= PASSED_AT_MOST
        end
        looked = looked + 1
        found = visit(job)
        return found or looked >= LOOKED_AT_MOST
      end)
    end)
    if found then
      return
    end
  end
end

local function is_making(who)
  return call('HEXISTS', key('making'), who) == 1
end

local function anyone()
  return true
end

-- The job to give out for a place, or the least memory that one takes which may be given out.
local function choose(is_spare, memory, limits, run_max, pass_max, notes_short)
  local lanes = { '0', '1' }
  if (tonumber(call('HGET', key('meta'), 'run')) or 0) >= run_max then
    lanes = { '1', '0' }
  end
  local head
  each_first(lanes, limits, anyone, function(job)
    head = job
    return true
  end)
  if not head then
    return nil, nil
  end
  if not is_spare then
    if head.me <= memory then
      return head, nil
    end
    if notes_short then
      call('HSETNX', key('short'), head.id, int(now))
    end
  end
  local since = tonumber(call('HGET', key('short'), head.id))
  local is_holding = since and now - since >= pass_max
  -- A tenant of whom something is made can't hold one of whom nothing is.
  local may_be_passed = is_holding and is_making(head.tn)
  local chosen, least
  local function consider(job)
    if is_holding and job.id ~= head.id and not (may_be_passed and not is_making(job.tn)) then
      return false
    end
    if job.me <= memory then
      chosen = job
      return true
    end
    least = math.min(least or job.me, job.me)
    return false
  end
  if is_spare then
    each_first(lanes, limits, function(user) return not is_making(user) end, consider)
    if not chosen then
      each_first(lanes, limits, is_making, function(job)
        return not is_making(job.tn) and consider(job)
      end)
    end
  else
    each_first(lanes, limits, anyone, consider)
  end
  if chosen then
    return chosen, nil
  end
  return nil, least
end

-- Milliseconds until a delayed job is due, empty if none is delayed.
local function next_due()
  local first = call('ZRANGE', key('delayed'), 0, 0, 'WITHSCORES')[2]
  return first and int(math.max(tonumber(first) - now, 0)) or ''
end
