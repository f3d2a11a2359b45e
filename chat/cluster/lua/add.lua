-- Store a message unless it is known; return {its number, its body, 1 if it is new}.
local room, id, body, max_messages, keep_seconds, known_seconds = unpack(ARGV, 3)
local known, history = prefix .. 'said:' .. id, prefix .. 'room:' .. room
local seq = redis.call('GET', known)
if seq then
    local found = redis.call('XRANGE', history, seq, seq)
    return {tonumber(seq), found[1] and found[1][2][2] or body, 0}
end
seq = tell(room, body)
redis.call('XADD', history, 'MAXLEN', '~', max_messages, seq, 'body', body)
redis.call('EXPIRE', history, keep_seconds)
redis.call('SET', known, seq, 'EX', known_seconds)
return {seq, body, 1}
