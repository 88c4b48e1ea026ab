-- id, lines...: what its attempt notes of a job, which so has changed for whoever watches it
local hash = key('job', ARGV[2])
if call('EXISTS', hash) == 0 then
  return 0
end
for nth = 3, #ARGV do
  call('RPUSH', key('j', ARGV[2]), ARGV[nth])
end
call('HINCRBY', hash, 'ch', 1)
if tonumber(call('HGET', hash, 'st')) > 1 then
  expire_journal(ARGV[2])
end
tell(ARGV[2])
return #ARGV - 2
