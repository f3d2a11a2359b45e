"""The same minimal client on each library, ours included.

``python -m bench.clients NAME URL`` connects to a server and does what ``--load`` says, until its
standard input ends. ``python -m bench.clients NAME URL AGENT CASE...`` runs cases of Autobahn's
fuzzing server instead. Messages of up to 64 MiB are accepted; all other settings are the library's
defaults.
"""

LOADS = {
    "echo": "send a message, wait for the reply, and again",
    "stream": "receive small messages as fast as they come",
    "connect": "connect, close, and again",
    "hold": "keep as many connections open as a line of the standard input says",
}
"""What a client does. bench/echo.c is the other end."""
REQUESTS_AHEAD = 2
"""A streaming client asks for further messages when this many requests less one are unanswered, so
that the stream never stops."""
