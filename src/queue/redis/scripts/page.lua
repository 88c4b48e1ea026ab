-- list, from, to (as ZRANGEBYSCORE has them), whether the `n`ewest come first, jobs at most, only of uploads that began before this
-- (milliseconds; empty: all) -> jobs in that order, and the place of the last that was looked at; empty where the list has ended
local LOOKED_AT_ONCE, LOOKED_AT_MOST = 500, 10000
local from, most, before = ARGV[3], tonumber(ARGV[6]), tonumber(ARGV[7])
local range = ARGV[5] == 'n' and 'ZREVRANGEBYSCORE' or 'ZRANGEBYSCORE'
local at_once = before and LOOKED_AT_ONCE or most + 1
local jobs, looked, last = {}, 0, ''
while true do
  local page = call(range, prefix .. ARGV[2], from, ARGV[4], 'WITHSCORES', 'LIMIT', 0, at_once)
  for nth = 1, #page, 2 do
    if #jobs == most or looked == LOOKED_AT_MOST then
      return { jobs, last }
    end
    local id = page[nth]
    looked, last = looked + 1, page[nth + 1]
    -- An id begins with the milliseconds at which it was made.
    if not before or tonumber(string.sub(id, 1, 8) .. string.sub(id, 10, 13), 16) < before then
      table.insert(jobs, call('HGETALL', key('job', id)))
    end
  end
  if #page < 2 * at_once then
    return { jobs, '' }
  end
  from = '(' .. last
end
