-- Change a person's name for all of the person's clients in a room.
local room, person = unpack(ARGV, 4)
local people, id = prefix .. 'people:' .. room, cjson.decode(person)['id']
local all = redis.call('HGETALL', people)
for i = 1, #all, 2 do
    if cjson.decode(all[i + 1])['id'] == id then redis.call('HSET', people, all[i], person) end
end
tell(room, about('rename', person))
