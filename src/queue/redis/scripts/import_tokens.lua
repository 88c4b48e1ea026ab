-- used tokens: of each its digest, when it is taken no more, and the job that has used it
for nth = 2, #ARGV, 3 do
  call('HSET', key('once'), ARGV[nth], ARGV[nth + 2])
  call('ZADD', key('once', 'end'), ARGV[nth + 1], ARGV[nth])
end
return (#ARGV - 1) / 3
