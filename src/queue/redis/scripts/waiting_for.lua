-- ids... -> what each waits for: `s`tores, `m`emory, its `t`urn; empty of one that is being made, has ended or is not known
local reasons = {}
for nth = 2, #ARGV do
  local id = ARGV[nth]
  local v = call('HMGET', key('job', id), 'av', 'md')
  local reason = ''
  if v[1] and v[2] == '1' then
    reason = 's'
  elseif v[1] == 'r' or v[1] == 'd' then
    reason = call('HEXISTS', key('short'), id) == 1 and 'm' or 't'
  end
  table.insert(reasons, reason)
end
return reasons
