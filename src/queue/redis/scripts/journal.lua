-- id, lines...: what its attempt notes of a job, which so has changed for whoever watches it
local hash = key('job', ARGV[2])
if call('EXISTS', hash) == 0 then
  return 0
end
for nth = 3, #ARGV do
  call('RPUSH', key('j', ARGV[2]), ARGV[nth])
end
call('HINCRBY', hash, 'ch', 1)
tell(ARGV[2])
return #ARGV - 2
