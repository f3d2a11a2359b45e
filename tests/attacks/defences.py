"""Take each defence out of a copy of ws/, and see the test fail that is about it.

`python -m tests.attacks.defences [NAME ...]`, for those whose test's name contains one of these.
A mutation is text in a module, which must be there once, and what to put in its place. A test
that can't run on this machine is told as skipped.
"""

from __future__ import annotations

import collections
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.support import ROOT

LINGER = (
    "            self._flush()\n        self.loop.schedule(self, time.monotonic() + self.limits."
)
NOTIFY = "notify_all()\n        self.loop.schedule(self, time.monotonic() + self.limits."
OPENING = ("client", "monotonic() + limits.open_timeout", "monotonic() + 99")
MUTE = ("client", 'self.cut("keepalive ping not answered in time")', "pass")
SUSPICIOUS = ("protocol", "if length < 0 or first not in self._first_bytes:", "if False:")
RAISING = (
    "server",
    "except BaseException as error:  # a callback's",
    "except OSError as error:  #",
)
END_OF_TCP = (
    "client",
    "self.loop.poll(self, remove=READ | WRITE)\n            return iter(((GONE, None),))",
    "return None",
)
BELIEVED = ("proxy", "return self._unix and not ip", "return True")
SAME_SITE = ("handshake", "if not (origin is None or ", "if not (True or ")
LINGERING = ("client", LINGER, LINGER.replace("monotonic() +", "monotonic() + 99 +"))
UNLOCKED = [
    ("client", before + "with self.lock:", before + "if True:")
    for before in (
        'cut the connection.\n        """\n        ',
        'never waits (RFC 6455 §5.5)."""\n        ',
        "self._shake_hands()\n            return\n        ",
    )
] + [
    ("server", "with self._lock:" + behind, "if True:" + behind)
    for behind in (
        "\n            if client in self._clients:",
        "\n            if room in self._memberships",
    )
]
NO_ROOM_LIMIT = ("client", "if not waiting or waiting + size <= ", "if True or ")
UNFAIR = ("loop", "if not turn or self._hurry:", "if False:")
ONE_LEADER = ("loop", "if stuck and self._take_lead():", "if False:")
FIELD_NAME = ("handshake", "if not colon or not is_token(name):", "if not colon:")
LINE_ENDS = (
    "handshake",
    r'"".join(lines) for c in "\r\n\0"):',
    '"".join(lines) for c in ""):',
)
NO_SIZE_LIMIT = ("protocol", "if size > self.max_message_size:", "if False:")
FORGED = "test_opening.py::test_forged_request"

DEFENCES = [  # test, then the mutations that take its defence out: module, text, replacement
    ("test_opening.py::test_slow_handshake", OPENING),
    ("test_opening.py::test_slow_body", LINGERING),
    ("test_opening.py::test_slow_download", LINGERING),
    ("test_opening.py::test_endless_head", ("handshake", ") > self._limit:", ") > 1 << 40:")),
    (
        f"{FORGED}[body to smuggle]",
        ("handshake", 'if "transfer-encoding" in headers or ', "if False and "),
    ),
    (
        f"{FORGED}[chunks to smuggle]",
        ("handshake", 'if "transfer-encoding" in headers or ', "if False and "),
    ),
    (f"{FORGED}[two origins]", ("handshake", "and name.lower() in _SINGLETONS:", "and False:")),
    (f"{FORGED}[bare newline]", LINE_ENDS),
    (f"{FORGED}[bare return]", LINE_ENDS),
    (f"{FORGED}[NUL]", LINE_ENDS),
    (f"{FORGED}[space before colon]", FIELD_NAME),
    (f"{FORGED}[not ASCII in a name]", FIELD_NAME),
    (
        f"{FORGED}[not ASCII in a subprotocol]",
        (
            "handshake",
            'if not all(is_token(p) for p in headers.tokens("sec-w',
            'if any(p for p in ("',
        ),
    ),
    (
        f"{FORGED}[not ASCII in the target]",
        ("handshake", 'if not all("!" <= c <= "~" ', "if any(not c "),
    ),
    (
        f"{FORGED}[upgrade in part of a word]",
        (
            "handshake",
            "in (member.lower() for member in self.tokens(name))",
            'in self.get(name, "")',
        ),
    ),
    (f"{FORGED}[a field too many]", ("handshake", "MAX_FIELDS = 100", "MAX_FIELDS = 10**9")),
    (
        f"{FORGED}[a page of another site]",
        SAME_SITE,
    ),
    ("live/test_bounds.py::test_origins", SAME_SITE),
    (
        "test_opening.py::test_pipelined_request",
        (
            "client",
            "self._push(response.encode(method))\n        self.linger()",
            "self._push(response.encode(method))",
        ),
    ),
    (
        "test_opening.py::test_header_injection",
        ("handshake", r'any(c in value for c in "\r\n\0")', "any(())"),
    ),
    (
        "test_opening.py::test_fields_that_are_slow_to_take_apart",
        (
            "handshake",
            'for token in self.get(name, "").split(",") if',
            'for token in __import__("re").split("[ \\t]*,", self.get(name, "")) if',
        ),
    ),
    ("test_opening.py::test_tls_stalls", OPENING),
    (
        "test_opening.py::test_tls_renegotiation",
        ("server", "options |= ssl.OP_NO_RENEGOTIATION", "options |= 1 << 8  # allow it"),
    ),
    (
        "test_opening.py::test_log_flood",
        ("server", "if now >= self._warned.get(message, 0):", "if True:"),
    ),
    (
        "test_opening.py::test_log_injection",
        ("server", "} %a refused; to let", "} %s refused; to let"),
    ),
    (
        "test_identity.py::test_dns_rebinding",
        ("server", "if self._hosts is not None:", "if False:"),
    ),
    (
        "test_identity.py::test_forged_addresses",
        BELIEVED,
    ),
    ("live/test_admission.py::test_forwarded_by_anybody", BELIEVED),
    (
        "live/test_admission.py::test_not_from_anybody",
        ("server", "if self._proxy_protocol and ip not in self._proxies:", "if False:"),
    ),
    ("live/test_admission.py::test_stalled_headers_block_nobody_and_end_in_time", OPENING),
    (
        "test_identity.py::test_forged_addresses_behind_a_proxy",
        ("proxy", "for member in reversed(forwarded_for):", "for member in forwarded_for:"),
    ),
    (
        "test_identity.py::test_passwords_are_compared_in_constant_time",
        (
            "handshake",
            'hmac.compare_digest(secrets.get(name, b""), password.encode())',
            'secrets.get(name, b"") == password.encode()',
        ),
    ),
    (
        "test_crowds.py::test_many_connections_from_one_address",
        ("server", "if excess < 0 or not ip or", "if True or"),
    ),
    (
        "test_crowds.py::test_many_connections_from_many_addresses",
        ("server", "over = len(self._connections) - limits.max_clients", "over = -1"),
    ),
    (
        "test_crowds.py::test_connections_beyond_count",
        ("server", "REFUSED_SPARE = 100", "REFUSED_SPARE = 10**9"),
    ),
    (
        "test_crowds.py::test_descriptor_exhaustion",
        (
            "listen",
            "self._loop.poll(self, remove=READ)\n                self._loop.schedule(",
            "id(",
        ),
    ),
    (
        "live/test_bounds.py::test_no_descriptors_left_to_accept_with",
        ("listen", "except OSError as error:  # no descriptors", "except KeyError as error:  #"),
    ),
    ("test_crowds.py::test_churn", ("server", "self._connections.discard(connection)", "pass")),
    ("test_crowds.py::test_abrupt_ends_cost_no_cpu", END_OF_TCP),
    ("test_faults.py::test_peer_that_dies", END_OF_TCP),
    (
        "test_faults.py::test_peer_that_dies_in_its_tls_handshake",
        OPENING,
        (
            "client",
            'TLS handshake failed: %s", self.client.getpeername(), error)\n            self.drop()',
            'TLS handshake failed: %s", self.client.getpeername(), error)',
        ),
    ),
    (
        "test_crowds.py::test_compression_contexts",
        (
            "deflate",
            "client_context_takeover: bool = False",
            "client_context_takeover: bool = True",
        ),
    ),
    ("test_messages.py::test_declared_but_never_sent[1099511627776]", NO_SIZE_LIMIT),
    (
        "test_messages.py::test_declared_but_never_sent[9223372036854775808]",
        ("protocol", "else 65536) or length >> 63:", "else 65536):"),
    ),
    ("test_messages.py::test_unfinished_messages", NO_SIZE_LIMIT),
    (
        "test_messages.py::test_fragments",
        (
            "protocol",
            "if not first_frame and self._fragments >= ",
            "if False and self._fragments >= ",
        ),
    ),
    ("test_messages.py::test_bomb", ("deflate", "(data, room + 1)", "(data)")),
    (
        "test_messages.py::test_bomb_in_fragments",
        ("protocol", "self.max_message_size - self._size", "self.max_message_size"),
        ("protocol", "size = length if first_frame else length + self._size", "size = length"),
    ),
    ("test_messages.py::test_bombs_within_the_limit", UNFAIR, ONE_LEADER),
    (
        "test_messages.py::test_read_ahead",
        ("loop", "and len(event[1] or ()) <= READ_AHEAD_SIZE", "and True"),
    ),
    ("test_messages.py::test_ping_flood", UNFAIR),
    ("test_messages.py::test_message_flood", UNFAIR, ONE_LEADER),
    (
        "test_messages.py::test_ping_flood_unread",
        ("client", "or self.queued > CHUNK:", "or False:"),
    ),
    (
        "test_messages.py::test_close_flood",
        (
            "protocol",
            "parse_close(payload)\n                            return",
            "parse_close(payload)\n                            continue",
        ),
        ("server", "if client not in self._clients:  #", "if False:  #"),
        (
            "server",
            "self._finishing += 1\n            del self._clients[client]",
            "self._finishing += 1\n            self._clients.pop(client, None)",
        ),
    ),
    (
        "test_messages.py::test_close_that_is_never_finished",
        ("client", NOTIFY, NOTIFY.replace("monotonic() +", "monotonic() + 99 +")),
    ),
    (
        "test_messages.py::test_text_in_crumbs",
        (
            "protocol",
            "if complete or len(parts) >= MAX_PARTS:",
            "if True:",
        ),
    ),
    (
        "test_messages.py::test_masking",
        ("frames", "if numpy and length", "if False and length"),
        (
            "frames",
            "data[i::4].translate(_XOR_TABLES[octet])",
            "bytes(masked ^ octet for masked in data[i::4])",
        ),
        ("client", "RECORD = 1 << 14", "RECORD = 1 << 24"),
    ),
    ("test_messages.py::test_garbage", SUSPICIOUS),
    ("test_slow_peers.py::test_half_open_peers", MUTE),
    ("test_network.py::test_cut", MUTE),
    ("test_slow_peers.py::test_never_reading_broadcasts", NO_ROOM_LIMIT),
    (
        "test_slow_peers.py::test_never_reading_replies",
        ("client", 'self.cut(f"took too long to read', 'repr(f"took too long to read'),
    ),
    ("test_slow_peers.py::test_trickling_readers", NO_ROOM_LIMIT),
    (
        "test_application.py::test_blocking_callbacks",
        ONE_LEADER,
    ),
    (
        "live/test_threads.py::test_a_broadcast_keeps_the_lead_only_so_long",
        ("loop", "self.broadcasting and now - since < LONG_SECONDS", "self.broadcasting"),
    ),
    (
        "test_application.py::test_thread_exhaustion",
        (
            "loop",
            "self._run, self._threads = run, threads",
            "self._run, self._threads = run, 10**6",
        ),
    ),
    ("test_application.py::test_callbacks_that_raise", RAISING),
    ("live/test_threads.py::test_a_callback_that_raises", RAISING),
    (
        "test_network.py::test_slowed",
        ("protocol", "self._key = self._key[turn:] + self._key[:turn]", "pass"),
    ),
    (
        "test_network.py::test_stalled",
        (
            "client",
            "self.loop.schedule(self, now + self.limits.ping_timeout)",
            "self.loop.schedule(self, now + 0.2)",
        ),
    ),
    (
        "test_faults.py::test_call_that_fails",
        (
            "loop",
            'logger.exception("error in serving %r", source)\n            source.on_fault()',
            'logger.exception("error in serving %r", source)',
        ),
    ),
    (
        "test_faults.py::test_clock_that_jumps",
        (
            "client",
            "self.loop.schedule(self, now + self.limits.ping_timeout)",
            "self.loop.schedule(self, self.limits.ping_timeout)",
        ),
    ),
    (
        "test_faults.py::test_forked_child",
        (
            "client",
            "has a copy\n                with suppress(OSError):\n"
            "                    socket.socket.shutdown(self.client, socket.SHUT_RDWR)",
            "has a copy\n                pass",
        ),
    ),
    (
        "test_faults.py::test_interpreter_that_ends",
        ("server", "atexit.register(self._exit)", "pass"),
    ),
    ("test_races.py::test_races", *UNLOCKED),
    ("test_races.py::test_races_without_the_gil", *UNLOCKED),
    ("test_differential.py::test_wsproto", SUSPICIOUS),
    ("test_differential.py::test_websockets", SUSPICIOUS),
    ("unit/test_model.py::test_any_stream_in_any_pieces", SUSPICIOUS),
]


def weaken(folder, mutations):
    """Apply mutations to the ws/ in a folder."""
    for module, text, replacement in mutations:
        path = folder / "ws" / f"{module}.py"
        source = path.read_text(encoding="utf-8")
        found = source.count(text)
        assert found == 1, f"ws/{module}.py has {found} times: {text}"
        path.write_text(source.replace(text, replacement), encoding="utf-8")


def outcome(test, mutations):
    """Say how a test ends without its defence."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in ("ws", "tests"):
            shutil.copytree(str(ROOT / part), str(folder / part))
        shutil.copy(str(ROOT / "pyproject.toml"), name)
        weaken(folder, mutations)
        attack = Path("tests", "attacks", test)
        path = attack if (ROOT / str(attack).partition("::")[0]).exists() else Path("tests", test)
        pytest = [sys.executable, "-m", "pytest", "-qx", "--timeout=90", str(path)]
        done = subprocess.run(pytest, cwd=name, stdout=subprocess.PIPE, check=False)
    output = done.stdout.decode()
    if done.returncode not in (0, 1):
        print(output)
    if done.returncode == 0 and " passed" not in output:
        return "skipped"
    return {0: "PASSES", 1: "fails"}.get(done.returncode, "ERROR")


def main():
    chosen = [
        (test, mutations)
        for test, *mutations in DEFENCES
        if not sys.argv[1:] or any(name in test for name in sys.argv[1:])
    ]
    results = collections.Counter()
    for test, mutations in chosen:
        result = outcome(test, mutations)
        results[result] += 1
        where = ", ".join({f"ws/{module}.py": None for module, _, _ in mutations})
        print(f"{result:8}{test:72} without its defence in {where}", flush=True)
    print(f"{results['fails']} of {len(chosen)} tests fail without their defence")
    return len(chosen) > results["fails"] + results["skipped"]


if __name__ == "__main__":
    sys.exit(main())
