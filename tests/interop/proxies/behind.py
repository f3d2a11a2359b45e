"""Our server behind a proxy, whose configuration is the first argument: see `tests.interop`.

In the configuration, PORT, BACKEND, CERT, KEY, PAIR (both in one file) and FOLDER (an empty one)
are replaced. A line that begins with "plain:" is for a port without TLS, one with "tls:" for TLS.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.interop.packages import find
from ws import Compression, WSServer

COMMANDS = {
    "nginx.conf": ("nginx", "-c", "CONFIG", "-p", "FOLDER"),
    "haproxy.cfg": ("haproxy", "-db", "-f", "CONFIG"),
    "Caddyfile": ("caddy", "run", "--adapter", "caddyfile", "--config", "CONFIG"),
}
PARTS = ["one, ", "two, ", "three"]


def say(**what):
    print(json.dumps(what), flush=True)


def serve():
    """Start our server, which keeps to the contract."""
    compression = Compression(threshold=0, server_context_takeover=True)
    server = WSServer("127.0.0.1", 0, subprotocols=["interop"], compression=compression)

    @server.onmessage
    def obey(client, message):
        if message == "/fragments":
            server.send(client, iter(PARTS))
        elif message == "/ping":
            server.ping(client)
            while client.latency is None:
                time.sleep(0.005)
            server.send(client, "pong")
        elif message == "/close":
            server.close(client, 4001, "over")
        else:
            server.send(client, message)

    server.onopen(lambda client: say(open=client.subprotocol))
    server.onclose(lambda client: say(closed=client.close_code, reason=client.close_reason))
    return server.start()


def configure(text, values, secure):
    """Return the text of the configuration."""
    kept, dropped = ("tls:", "plain:") if secure else ("plain:", "tls:")
    lines = [line for line in text.splitlines() if not line.startswith(dropped)]
    text = "".join(line[len(kept) * line.startswith(kept) :] + "\n" for line in lines)
    for name, value in values.items():
        text = text.replace(name, value)
    return text


def main(config, port, cert="", key=""):
    server = serve()
    folder = Path(tempfile.mkdtemp(prefix="proxy-"))
    values = {"PORT": port, "BACKEND": str(server.port), "CERT": cert, "KEY": key}
    values.update({"PAIR": str(folder / "pair.pem"), "FOLDER": str(folder)})
    if cert:
        (folder / "pair.pem").write_text(Path(cert).read_text() + Path(key).read_text())
    path = Path(config)
    written = folder / path.name
    written.write_text(configure(path.read_text(), values, secure=bool(cert)))
    program, *arguments = COMMANDS[path.name]
    parts = {"CONFIG": str(written), "FOLDER": str(folder)}
    command = [find(program), *(parts.get(part, part) for part in arguments)]
    homes = dict.fromkeys(("XDG_CONFIG_HOME", "XDG_DATA_HOME"), str(folder))  # where Caddy writes
    proxy = subprocess.Popen(command, env={**os.environ, **homes})
    signal.signal(signal.SIGTERM, lambda *_: server.shutdown())
    proxy.wait()


main(*sys.argv[1:])
