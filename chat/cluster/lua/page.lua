-- Return the last messages of a room between two numbers: {number, body} of each, from the last on,
-- and one more than may be used, by which the caller sees that there are more.
local room, highest, lowest, count, size = unpack(ARGV, 4)
local rows, left = {}, tonumber(size)
local function enough()
    return #rows > tonumber(count) or (left < 0 and #rows > 1)
end
while not enough() do
    local found = redis.call(
        'XREVRANGE', prefix .. 'room:' .. room, highest, lowest, 'COUNT', 8)
    for _, entry in ipairs(found) do
        if enough() then break end
        table.insert(rows, {entry[1], entry[2][2]})
        left = left - #entry[2][2]
        highest = '(' .. entry[1]
    end
    if #found < 8 then break end
end
return rows
