-- Put a client of a node into a room; return {the event's number, the people of other clients}.
local node, client, room, person = unpack(ARGV, 4)
local people = prefix .. 'people:' .. room
local others = redis.call('HVALS', people)
local kind = count_clients(room, person, 1) > 1 and 'rename' or 'join'
redis.call('HSET', people, node .. '/' .. client, person)
redis.call('HSET', prefix .. 'at:' .. node, client, room)
return {tell(room, about(kind, person)), others}
