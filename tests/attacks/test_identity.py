"""Attacks with names, addresses and passwords that aren't the peer's own."""

from __future__ import annotations

import base64
import hmac

from tests.support.heads import request
from ws import basic_auth
from ws.wire.http11 import parse_request


def test_dns_rebinding(victim):
    """A page whose name resolves to this server's address passes for one of the same host."""
    server = victim(hosts="localhost")
    with server.attacked():
        for name in ("evil.example", "localhost.evil.example", "evil.example:80"):
            head = request("/", f"Origin: http://{name}", host=name)
            assert server.dial(head).status == 421


def test_forged_addresses(victim):
    """X-Forwarded-For is ignored unless the peer is a trusted proxy."""
    server = victim(max_clients_per_address=20)
    with server.attacked():
        peers = [
            server.dial(request("/", f"X-Forwarded-For: 1.2.3.{number}"), source="127.0.0.2")
            for number in range(30)
        ]
        assert [peer.status for peer in peers] == [101] * 20 + [429] * 10


def test_forged_addresses_behind_a_proxy(victim):
    """Only what trusted proxies added at the end of X-Forwarded-For counts."""
    server = victim(max_clients_per_address=20, trusted_proxies="127.0.0.0/8")
    with server.attacked():
        peers = [
            server.dial(request("/", f"X-Forwarded-For: 1.2.3.{number}, 9.9.9.9"))
            for number in range(30)
        ]
        assert [peer.status for peer in peers] == [101] * 20 + [429] * 10


def test_unknown_addresses_behind_a_proxy(victim):
    """Clients whose proxy tells no address have a bound together, and don't pass for the proxy."""
    server = victim(max_clients_per_address=20, trusted_proxies="127.0.0.0/8")
    with server.attacked():
        members = ("unknown", "unix:", "1.2.3.4, _hidden", "1.2.3.4, unknown, 127.0.0.2")
        peers = [
            server.dial(request("/", f"X-Forwarded-For: {members[number % 4]}"))
            for number in range(30)
        ]
        assert [peer.status for peer in peers] == [101] * 20 + [429] * 10
        assert server.connect("X-Forwarded-For: 9.9.9.9"), "others still get in"


def test_clients_in_a_trusted_network(victim):
    """Only the proxies that connect are exempt from the bound, not all that their network has."""
    server = victim(max_clients_per_address=20, trusted_proxies="127.0.0.0/8")
    with server.attacked():
        head = request("/", "X-Forwarded-For: 127.9.9.9")
        statuses = [server.dial(head).status for _ in range(30)]
        assert statuses == [101] * 20 + [429] * 10


def test_passwords_are_compared_in_constant_time(monkeypatch):
    """The time of a comparison reveals neither the password nor whether a name exists."""
    compared = []
    compare = hmac.compare_digest

    def note(*pair):
        compared.append(set(pair))
        return compare(*pair)

    monkeypatch.setattr("hmac.compare_digest", note)
    ask = basic_auth({"ann": "secret"})
    for pair, status in (("ann:secret", None), ("ann:secreT", 401), ("bob:secret", 401)):
        credentials = base64.b64encode(pair.encode()).decode()
        head = request("/", f"Authorization: Basic {credentials}")
        response = ask(parse_request(head[:-4]))
        assert (response and response.status) == status
    assert compared == [{b"secret"}, {b"secret", b"secreT"}, {b"", b"secret"}]
