-- Remove a node and its clients; one that is alive only if alive_too is given.
local node, alive_too = unpack(ARGV, 4)
if redis.call('EXISTS', prefix .. 'alive:' .. node) == 1 and not alive_too then return end
redis.call('SREM', prefix .. 'nodes', node)
redis.call('DEL', prefix .. 'alive:' .. node)
for _, client in ipairs(redis.call('HKEYS', prefix .. 'at:' .. node)) do leave(node, client) end
