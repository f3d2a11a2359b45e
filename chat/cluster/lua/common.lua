-- What the other scripts share; it is put in front of each of them.
-- KEYS stays empty, since all of a chat is on one Redis.
-- ARGV: the prefix of all keys, how many bytes of events the stream keeps, then the script's own.

local prefix, max_event_bytes, row_bytes = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])

-- Delete the oldest entry of a stream; return the bytes that it counted, or nil if there is none.
local function delete_oldest(stream)
    local entry = redis.call('XRANGE', stream, '-', '+', 'COUNT', 1)[1]
    if not entry then return nil end
    redis.call('XDEL', stream, entry[1])
    return #entry[2][#entry[2]] + row_bytes
end

-- Append an event to the stream that all nodes follow; return its number.
local function tell(room, event)
    local seq = redis.call('INCR', prefix .. 'seq')
    local stream, size = prefix .. 'events', prefix .. 'event_bytes'
    redis.call('XADD', stream, seq, 'room', room, 'event', event)
    local used = redis.call('INCRBY', size, #event + row_bytes)
    while used > max_event_bytes do
        local freed = delete_oldest(stream)
        used = freed and redis.call('DECRBY', size, freed) or redis.call('SET', size, 0) and 0
    end
    return seq
end

-- Return a join, leave or rename event; person is JSON.
local function about(kind, person)
    return '{"type": "' .. kind .. '", "person": ' .. person .. '}'
end

-- Add to the number of clients that a person has in a room; return it.
local function count_clients(room, person, change)
    local key, id = prefix .. 'clients:' .. room, cjson.decode(person)['id']
    local number = redis.call('HINCRBY', key, id, change)
    if number == 0 then redis.call('HDEL', key, id) end
    return number
end

-- Remove a client of a node from its room; tell the others if that was the person's last one.
local function leave(node, client)
    local room = redis.call('HGET', prefix .. 'at:' .. node, client)
    if not room then return end
    local people, field = prefix .. 'people:' .. room, node .. '/' .. client
    local person = redis.call('HGET', people, field)
    redis.call('HDEL', prefix .. 'at:' .. node, client)
    redis.call('HDEL', people, field)
    if person and count_clients(room, person, -1) == 0 then
        tell(room, about('leave', person))
    end
end
