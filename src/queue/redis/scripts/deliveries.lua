-- list, before (as ZREVRANGEBYLEX has it), at most -> its members, newest first, each with its record
local deliveries = {}
for _, member in ipairs(call('ZREVRANGEBYLEX', prefix .. ARGV[2], ARGV[3], '-', 'LIMIT', 0, ARGV[4])) do
  -- The id is at the end, behind a NUL, which nothing before its last has.
  local id = string.match(member, '%z([^%z]+)$')
  local job = string.sub(id, 1, 36)
  table.insert(deliveries, { member, id, call('HGET', key('dv', job), id) or '' })
end
return deliveries
