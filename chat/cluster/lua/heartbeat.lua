-- Say that a node is alive; new_history is the history's id if there is none yet.
-- Return {the history's id, the last event's number, 1 if the node was unknown, silent nodes}.
local node, alive_seconds, new_history = unpack(ARGV, 4)
redis.call('SET', prefix .. 'alive:' .. node, '1', 'EX', alive_seconds)
redis.call('SET', prefix .. 'history', new_history, 'NX')
local unknown, silent = redis.call('SADD', prefix .. 'nodes', node), {}
for _, other in ipairs(redis.call('SMEMBERS', prefix .. 'nodes')) do
    if redis.call('EXISTS', prefix .. 'alive:' .. other) == 0 then table.insert(silent, other) end
end
local seq = tonumber(redis.call('GET', prefix .. 'seq') or '0')
return {redis.call('GET', prefix .. 'history'), seq, unknown, silent}
