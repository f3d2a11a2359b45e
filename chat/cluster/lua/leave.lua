-- Remove a client of a node from its room.
local node, client = unpack(ARGV, 4)
leave(node, client)
