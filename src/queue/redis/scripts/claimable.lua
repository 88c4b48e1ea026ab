-- what, memory left, memory of this node, realtime run at most, longest pass, newest format that is read -> whether a claim would find something, and
-- when it may otherwise
promote()
local found
if ARGV[2] == 'made' then
  found = call('EXISTS', key('made')) == 1
else
  found = choose(ARGV[2] == 'spare', tonumber(ARGV[3]), { total = tonumber(ARGV[4]), newest = tonumber(ARGV[7]) },
    tonumber(ARGV[5]), tonumber(ARGV[6]), false)
end
return { found and 1 or 0, next_due() }
