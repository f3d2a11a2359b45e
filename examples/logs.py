"""Logging: what a callback raises, and which requests are refused. A slow disk delays nobody."""

import contextlib
import logging
import logging.handlers
import queue

from ws import Client, WSServer


class Lines(logging.handlers.QueueHandler):
    """Passes lines on to another thread. When 10,000 wait for it, further ones are dropped."""

    def enqueue(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(queue.Full):
            self.queue.put_nowait(record)


lines: "queue.Queue[logging.LogRecord]" = queue.Queue(10_000)
writer = logging.StreamHandler()
writer.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
logging.handlers.QueueListener(lines, writer).start()
logging.getLogger().addHandler(Lines(lines))
logging.getLogger("ws").setLevel(logging.INFO)

server = WSServer(port=8000)


@server.onmessage
def divide(client: Client, message: str) -> None:
    server.send(client, str(1 / int(message)))


@server.onerror
def report(client: Client, exception: BaseException) -> None:
    logging.warning("a message of %s raised %r", client.getpeername(), exception)


server.run()
