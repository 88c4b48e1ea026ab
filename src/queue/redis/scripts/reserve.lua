-- a migration's name, whether it is to begin -> whether it may: it has begun here before, or nobody has used this Redis
local meta = key('meta')
if call('HGET', meta, 'migration') == ARGV[2] then
  return 1
end
for _, name in ipairs({ meta, key('ls'), key('once'), key('nodes') }) do
  if call('EXISTS', name) == 1 then
    return 0
  end
end
if ARGV[3] == '1' then
  call('HSET', meta, 'migration', ARGV[2])
end
return 1
