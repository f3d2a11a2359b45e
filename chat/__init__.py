"""A chat on one port, the page and its WebSocket, built on the public API of `ws`.

To read it, begin with `protocol` (what clients ask for) and `room` (what that does, for each
`member`). `fields` cleans what clients send, `credits` and `uploads` bound it, `store` keeps the
history, `server` serves, `cli` is the command line. `cluster` is for many nodes.
"""
