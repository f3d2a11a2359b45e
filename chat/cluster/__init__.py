"""The chat on many nodes: state on Redis, and worker processes that share a port."""
