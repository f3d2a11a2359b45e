"""libsoup, GNOME's HTTP library, by its introspection."""

import json
import sys

import gi

gi.require_version("Soup", "3.0")
from gi.repository import Gio, GLib, Soup  # noqa: E402 -- after its version

session = Soup.Session(tls_database=Gio.TlsFileDatabase.new(sys.argv[1]))
session.add_feature_by_type(Soup.WebsocketExtensionManager)  # which has permessage-deflate


def say(**what):
    print(json.dumps(what), flush=True)


def on_message(socket, kind, data):
    if data.get_data() == b"/close":
        socket.close(4001, "over")
    else:
        socket.send_message(kind, data)


def talk(url):
    loop = GLib.MainLoop()

    def on_closed(socket):
        say(closed=socket.get_close_code(), reason=socket.get_close_data() or "")
        loop.quit()

    def on_connected(session, result):
        socket = session.websocket_connect_finish(result)
        socket.set_max_incoming_payload_size(2 << 20)
        socket.connect("message", on_message)
        socket.connect("closed", on_closed)
        say(open=socket.get_protocol())
        sockets.append(socket)

    sockets = []  # to keep it
    message, names = Soup.Message.new("GET", url), ["other", "interop"]
    session.websocket_connect_async(message, None, names, 0, None, on_connected)
    loop.run()


for line in sys.stdin:
    talk(line.strip())
