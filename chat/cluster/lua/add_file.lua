-- Store a file under its id. While there is too much, the file that was sent first is deleted.
local id, content, size, max_bytes = unpack(ARGV, 4)
local order, sizes, file = prefix .. 'files', prefix .. 'file_sizes', prefix .. 'file:'
redis.call('ZADD', order, redis.call('INCR', prefix .. 'file_seq'), id)
redis.call('SET', file .. id, content)
if redis.call('HSETNX', sizes, id, size) == 0 then return end
local used = redis.call('INCRBY', prefix .. 'file_bytes', size)
while used > tonumber(max_bytes) do
    local oldest = redis.call('ZRANGE', order, 0, 0)[1]
    if not oldest then break end
    local freed = redis.call('HGET', sizes, oldest)
    redis.call('DEL', file .. oldest)
    redis.call('ZREM', order, oldest)
    redis.call('HDEL', sizes, oldest)
    used = redis.call('DECRBY', prefix .. 'file_bytes', freed)
end
