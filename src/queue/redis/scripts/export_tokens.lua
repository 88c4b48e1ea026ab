-- digest behind which it begins, or nothing, at most -> used tokens, by when they end: of each its digest, that, and its job
local from = 0
if ARGV[2] ~= '' then
  from = (call('ZRANK', key('once', 'end'), ARGV[2]) or -1) + 1
end
local listed = call('ZRANGE', key('once', 'end'), from, from + ARGV[3] - 1, 'WITHSCORES')
local tokens = {}
for nth = 1, #listed, 2 do
  table.insert(tokens, { listed[nth], int(tonumber(listed[nth + 1])), call('HGET', key('once'), listed[nth]) or '' })
end
return tokens
