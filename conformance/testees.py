"""The servers and clients under test, as commands, and the cases to run against each."""

from __future__ import annotations

from dataclasses import dataclass

from conformance.cases import select


@dataclass(frozen=True)
class Testee:
    """An echo server or client, and the cases to run against it."""

    name: str
    about: str
    cases: list[str]
    command: str
    """The arguments of ``python -m``. `conformance.server.Server` says what a server must do, and
    `conformance.client.Client` what a client must do."""
    default: bool = True
    """Whether it is tested when none is named."""
    scheme: str = ""
    """For a client: "ws" or "wss"."""


PLAIN = select("1", "2", "3", "4", "5", "6", "7", "9", "10")
ALL = [*PLAIN, *select("12", "13")]


def _ours(name: str, about: str, cases: list[str], options: str, default: bool = True) -> Testee:
    return Testee(name, about, cases, f"conformance.echo {options}", default)


def _hosted(name: str, about: str, cases: list[str], options: str, default: bool = True) -> Testee:
    return Testee(name, about, cases, f"conformance.hosted {options}", default)


def _client(name: str, about: str, cases: list[str], options: str, scheme: str = "ws") -> Testee:
    return Testee(name, about, cases, f"conformance.echo_client {options}", True, scheme)


OURS = {
    testee.name: testee
    for testee in (
        # Most of the time is spent on deflating; the level makes no difference to the protocol.
        _ours("compressed", "permessage-deflate", ALL, "--compress level=1"),
        _ours("plain", "no extension", PLAIN, ""),
        _ours("tls", "wss://", PLAIN, "--tls"),
        _ours("tls-compressed", "both", ALL, "--tls --compress", default=False),
        _ours(
            "fragments",
            "replies as iterables",
            select("1", "2", "5", "6", "9.1", "9.2", "9.5", "9.6", "10"),
            "--reply in-fragments",
        ),
        _ours(
            "thread",
            "replies from another thread",
            select("1", "2", "6.1", "6.2", "9", "10"),
            "--reply from-thread",
        ),
        _ours(
            "blocking",
            "callbacks that block for 10 ms",
            select("1", "2", "3", "4", "5", "6", "7", "9.1", "9.2", "10"),
            "--reply slowly",
        ),
        _hosted("gunicorn-sync", "in Flask on gunicorn, sync", PLAIN, "sync"),
        _hosted("gunicorn-gthread", "in Flask on gunicorn, gthread", PLAIN, "gthread"),
        _hosted("gunicorn-compressed", "both", ALL, "gthread --compress", default=False),
        _client("client", "client, permessage-deflate", ALL, "--compress"),
        _client("client-plain", "client, no extension", PLAIN, ""),
        _client("client-tls", "client, wss://", PLAIN, "", "wss"),
        _client("client-calls", "client with callbacks", PLAIN, "--way callbacks"),
        _client(
            "client-thread",
            "client that replies from another thread",
            select("1", "2", "6.1", "6.2", "9", "10"),
            "--way thread",
        ),
    )
}
