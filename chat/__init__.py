"""A chat on one port: the page and its WebSocket, on the public API of `ws` alone."""
