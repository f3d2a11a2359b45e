-- Remove a client of a node from its room.
local node, client = unpack(ARGV, 3)
leave(node, client)
