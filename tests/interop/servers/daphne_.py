"""daphne."""

import sys

from daphne.cli import CommandLineInterface

port, *pair = sys.argv[1:]
bind = ["-b", "127.0.0.1", "-p", port]
if pair:
    bind = ["-e", f"ssl:{port}:interface=127.0.0.1:certKey={pair[0]}:privateKey={pair[1]}"]
CommandLineInterface().run([*bind, "tests.interop.servers.asgi:app"])
