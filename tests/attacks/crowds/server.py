"""The server that crowds attack: `python -m tests.attacks.crowds.server OPTIONS`.

OPTIONS are those of `WSServer` in JSON. It does what messages ask for (`tests.support.verbs`),
prints its URL, and ends when its standard input does. It does without the packages of the extra
`fast`, so that figures don't depend on whether these are installed.
"""

from __future__ import annotations

import json
import logging
import sys

from tests.support.verbs import reply


def main():
    sys.modules.update(dict.fromkeys(("numpy", "zlib_ng")))  # to import one is an ImportError now
    from ws import WSServer

    logging.basicConfig(format="%(levelname)s %(message)s")
    server = WSServer("127.0.0.1", 0, **json.loads(sys.argv[1]))

    @server.onmessage
    def onmessage(client, message):
        server.send(client, reply(message))

    server.start()
    print(server.url, flush=True)
    sys.stdin.read()
    server.shutdown(1)


if __name__ == "__main__":
    main()
