"""TLS: on SIGHUP the certificate is read again, and no client is disconnected."""

from __future__ import annotations

import logging
import signal

from ws import WSServer

server = WSServer(port=8000, cert="fullchain.pem", key="privkey.pem")
server.onmessage(server.send)


def reload(signum: int, frame: object) -> None:
    try:
        server.reload_cert()
    except OSError:
        logging.exception("the old certificate stays in use")


signal.signal(signal.SIGHUP, reload)
server.run()
