-- list, from (as ZRANGEBYSCORE has it), jobs at most, what to look for in their records -> ids of those that have it, and the place of
-- the last that was looked at; empty where the list has ended
local page = call('ZRANGEBYSCORE', prefix .. ARGV[2], ARGV[3], '+inf', 'WITHSCORES', 'LIMIT', 0, ARGV[4])
local found = {}
for nth = 1, #page, 2 do
  local record = call('HGET', key('job', page[nth]), 'r')
  if record and string.find(record, ARGV[5], 1, true) then
    table.insert(found, page[nth])
  end
end
return { found, #page == 2 * tonumber(ARGV[4]) and page[#page] or '' }
