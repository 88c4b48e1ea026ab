-- ids...: jobs that have ended and whose originals can't come back as new jobs any more: their records may go in time
for nth = 2, #ARGV do
  if call('EXISTS', key('job', ARGV[nth])) == 1 then
    call('HSET', key('job', ARGV[nth]), 'cl', '1')
  end
end
return #ARGV - 1
