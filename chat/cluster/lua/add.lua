-- Store a message unless it is known; return {its number, its body, 1 if it is new}.
-- While there is too much, the room that has the most loses its oldest message.
local room, id, body, max_bytes, known_seconds = unpack(ARGV, 4)
local known, history = prefix .. 'said:' .. id, prefix .. 'room:' .. room
local seq = redis.call('GET', known)
if seq then
    local found = redis.call('XRANGE', history, seq, seq)
    return {tonumber(seq), found[1] and found[1][2][2] or body, 0}
end
seq = tell(room, body)
redis.call('XADD', history, seq, 'body', body)
redis.call('SET', known, seq, 'EX', known_seconds)
local sizes, size = prefix .. 'room_bytes', #body + row_bytes
redis.call('ZINCRBY', sizes, size, room)
local used = redis.call('INCRBY', prefix .. 'message_bytes', size)
while used > tonumber(max_bytes) do
    local largest, score = unpack(redis.call('ZREVRANGE', sizes, 0, 0, 'WITHSCORES'))
    if not largest then break end
    local stream = prefix .. 'room:' .. largest
    local freed = delete_oldest(stream)
    if freed and redis.call('XLEN', stream) > 0 then
        redis.call('ZINCRBY', sizes, -freed, largest)
    else
        freed = score
        redis.call('ZREM', sizes, largest)
        redis.call('DEL', stream)
    end
    used = redis.call('DECRBY', prefix .. 'message_bytes', freed)
end
return {seq, body, 1}
