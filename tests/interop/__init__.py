"""Our server with foreign clients, our client with foreign servers and proxies: docs/interop.md.

A program in `clients/` or `servers/` is written as its library's own users would. All obey one
contract:

- A client's argument is the path of a CA certificate. It reads URLs, a line each. It connects to
  each, offering the subprotocols "other" and "interop", and permessage-deflate if it can. When the
  connection has ended, it takes the next line. It ends with its input.
- A server's arguments are a port on 127.0.0.1, and for TLS a certificate's path and its key's. It
  accepts the subprotocol "interop", and permessage-deflate if it can. At SIGTERM, it ends, and
  closes its clients with 1001.
- Each sends back every message, as the same kind, but obeys three texts:
  "/fragments": send the text "one, two, three" in three fragments.
  "/ping": send a ping, and when its pong has come, the text "pong".
  "/close": close with the code 4001 and the reason "over".
- Each prints JSON, a line each. {"open": "interop"}: it is connected, with this subprotocol or
  null. {"closed": 4002, "reason": "bye"}: the connection has ended, with this code,
  and this reason, null if the library doesn't tell it.
"""
