"""Take each defence out of a copy of ws/ and chat/, and check that its test fails.

`python -m tests.attacks.defences [NAME ...]` does so for the tests whose names contain one of
these. A test that can't run on this machine counts as skipped. Defences are marked in the sources,
and `tests.attacks.marks` says what becomes of a statement that is marked.

Over 400 lines, because each defence has one, and each test.
"""

from __future__ import annotations

import collections
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.attacks import chat_defences, marks
from tests.support import ROOT

DEFENCES = {
    # wire
    "answer-checks": "the checks of a server's answer to the handshake: Accept and the others",
    "answer-size": "the check of max_head_size for a server's answer",
    "extension-asked": "the refusal of an extension that wasn't asked for",
    "mask-bit": "the check that frames from clients are masked, and those from servers aren't",
    "redirect-downgrade": "the refusal of a redirection from TLS to none",
    "bare-newline": "the check for newlines alone in a head that isn't complete",
    "close-ends-parsing": "the return after a close frame: nothing after it is parsed",
    "empty-lines": "the check of empty lines before a request",
    "field-count": "MAX_FIELDS: how many fields a head may have",
    "field-name": "the check that a field's name is a token, and followed by a colon",
    "forwarded-last": "the loop over X-Forwarded-For: from its end, which trusted proxies wrote",
    "fragment-count": "the check of max_fragments",
    "head-size": "the check of max_head_size",
    "header-injection": "the check of fields that the application sends",
    "inflated-left": "the limit for inflating a frame: what its message may still grow by",
    "inflated-size": "the limit passed to zlib",
    "input-is-work": "INFLATE_FACTOR: how much work compressed input is",
    "joined-parts": "the condition for collecting short fragments in one part",
    "length-form": "the check of a frame's length: the shortest form, and below 2**63",
    "line-ends": "the check of a head's lines for CR, LF and NUL",
    "linear-fields": "taking a list of tokens apart in linear time",
    "masking-key": "the turning of the masking key when a payload comes in parts",
    "member-count": "MAX_MEMBERS: how many members a list in a field may have",
    "message-size": "the check of max_message_size",
    "no-body": "the refusal of a handshake with a body",
    "offer-count": "MAX_OFFERS: how many extensions and parameters a client may offer",
    "origin": "the check of Origin",
    "password-time": "the comparison of passwords in constant time",
    "proxies": "whether a peer is a trusted proxy",
    "reserved-bits": "the check of a frame's first bytes",
    "secure-origin": "the condition for an origin not to count as this host's",
    "server-context": "the default of server_context_takeover: no compressor is kept for a client",
    "shared-body": "the condition for sending a body without copying it",
    "singletons": "the check for fields that may come only once",
    "subprotocol-tokens": "the check that offered subprotocols are tokens",
    "summed-size": "the size of a message so far, compared with max_message_size",
    "target": "the check of the request's target",
    "text-as-bytes": "the condition for keeping text decoded",
    "token-whole": "the comparison of a field's members as a whole",
    "unknown-address": "the result for a forwarded address that is none",
    "unmask-bytes": "unmasking by tables of bytes",
    "unmask-numpy": "unmasking by numpy",
    # engine
    "accept-time": "ACCEPTING_SECONDS: for how long connections are accepted in a row",
    "accept-errors": "the except clause of accepting a connection",
    "accept-pause": "the line that stops watching a listener when accepting fails",
    "broadcast-lead": "for how long a broadcast keeps the lead",
    "close-timeout": "the deadline of the peer's close frame",
    "end-of-tcp": "the event for the end of TCP",
    "end-of-tcp-watch": "the line that stops watching a connection at the end of TCP",
    "fault-ends-source": "the line that ends a source when serving it has failed",
    "server-fork": "the end of a forked child's server",
    "fork-shutdown": "the shutdown of a socket that a child may have a copy of",
    "linger": "the line that stops parsing after an HTTP answer",
    "linger-rate": "how fast a peer has to take a page",
    "linger-timeout": "the deadline of lingering",
    "lock-of-control": "the lock around sending a ping or pong",
    "lock-of-reading": "the lock around writing when the socket is ready",
    "lock-of-sending": "the lock around sending",
    "new-leader": "the monitor's taking the lead from a callback that blocks",
    "decision-timeout": "the deadline of onrequest",
    "early-end": "the line that drops a peer that has left while onrequest decides",
    "open-timeout": "the deadline of the handshake",
    "ping-timeout": "the deadline of a pong",
    "joined-pieces": "the condition for not copying a small piece to the end of what waits",
    "read-ahead": "the bound on the size of a message after which more is read",
    "read-size": "READ_BYTES: how much is read at a time",
    "shared-once": "the check whether a buffer that several hold is counted already",
    "slow-reader": "the line that cuts a client of whose queue nothing has left for long",
    "thread-count": "where the option threads is kept",
    "tls-failure": "the line that drops a connection whose TLS handshake failed",
    "computing-alone": "how many callbacks may run in workers while the interpreter is crowded",
    "computing-width": "the line that gives a share whose callbacks compute one worker",
    "fair-turns": "the line that begins to share the leader's time",
    "memory-bound": "the check of max_memory",
    "memory-inbox": "the check whether the messages that wait for a worker are to be dropped",
    "memory-pause": "the check whether a connection holds so much that it is read only in turns",
    "memory-pause-timeout": "the check for how long a connection is paused",
    "memory-trim": "the line that returns free memory to the system",
    "memory-refusal": "the check of what an address holds, before it gets one more connection",
    "own-queue": "the line that notes that a client's queue is full",
    "share-of-leavers": "the loop over the shares that are forgotten when nobody is connected",
    "thread-share": "how many workers one share may have",
    "turns": "the check whether a connection has used its share of a batch",
    "unanswered-ping": "the line that cuts a client for an unanswered ping",
    "unread-pongs": "the check that pongs don't pile up",
    "queue-room": "the check of max_queue_size",
    # face
    "address-count": "the check of max_clients_per_address",
    "client-count": "by how many max_clients is exceeded",
    "connection-set": "the line that takes a connection out of the set of all",
    "environ-lines": "the check of what a WSGI server has parsed for line ends",
    "ends-once": "the check whether a client has ended already",
    "descriptor-reserve": "by how many descriptors the application's reserve is reached",
    "exception-escape": "the escaping of exceptions' texts",
    "exit-handler": "the registering of the shutdown with atexit",
    "goodbye-finish": "the line that ends TCP in a shutdown without waiting for the peer",
    "hosts": "the check of Host",
    "lock-of-joining": "the lock around joining a room",
    "lock-of-leaving": "the lock around leaving a room",
    "ipv6-network": "the network by which an address of IPv6 is counted",
    "log-escape": "the warning about a refused name, which escapes it",
    "log-rate": "the check whether one of the same kind was logged lately",
    "node-expiry": "for how long Redis keeps what it has of a node",
    "proxy-header-peers": "the check that a PROXY header comes from a trusted proxy",
    "raising-callbacks": "the except clause around callbacks",
    "refused-count": "REFUSED_SPARE: how many connections over the limit get an answer",
    "renegotiation": "the TLS option against renegotiation",
    "unix-abandoned": "the check that nobody listens on a Unix socket that is to be replaced",
    "unix-kind": "the check that what is to be replaced is a socket",
    "unix-own": "the check that a Unix socket to remove is the server's own",
    **chat_defences.DEFENCES,
}
"""What is marked with each name."""
DEFENCES.update(  # of the client
    {
        "certificate": "the context that verifies a server's certificate",
        "client-exit": "the goodbye of all clients when the interpreter exits",
        "client-fork": "the end of a forked child's clients",
        "client-inbox": "the bound of the messages that wait for recv",
        "dial-deadline": "the deadline of all steps of connecting",
        "redirect-secrets": "leaving out passwords and cookies for another server",
        "retry-pause": "the random pause before a client connects again",
    }
)

LOCKS = [f"lock-of-{what}" for what in ("sending", "control", "reading", "joining", "leaving")]
FORGED = "test_opening.py::test_forged_request"

TESTS = [  # each with the defences that are taken out for it, some with a replacement
    ("test_opening.py::test_slow_handshake", "open-timeout"),
    (
        "live/test_requests.py::test_a_request_is_decided_on_in_time_or_refused",
        ("decision-timeout", "self._loop.schedule(self, None)"),
    ),
    (
        "live/test_requests.py::test_a_peer_that_leaves_before_the_decision_is_noticed",
        "early-end",
    ),
    ("test_opening.py::test_slow_body", "linger-timeout"),
    ("test_opening.py::test_slow_download", "linger-timeout"),
    ("test_opening.py::test_slow_download", "shared-body"),
    ("test_opening.py::test_trickled_download", ("linger-rate", "False")),
    ("test_opening.py::test_endless_head", "head-size"),
    (f"{FORGED}[body to smuggle]", "no-body"),
    (f"{FORGED}[chunks to smuggle]", "no-body"),
    (f"{FORGED}[two origins]", "singletons"),
    (f"{FORGED}[bare newline]", "line-ends"),
    (f"{FORGED}[bare return]", "line-ends"),
    (f"{FORGED}[NUL]", "line-ends"),
    (f"{FORGED}[escape character]", "line-ends"),
    (f"{FORGED}[newlines for line ends]", "bare-newline"),
    (f"{FORGED}[space before colon]", "field-name"),
    (f"{FORGED}[not ASCII in a name]", "field-name"),
    (f"{FORGED}[not ASCII in a subprotocol]", "subprotocol-tokens"),
    (f"{FORGED}[not ASCII in the target]", "target"),
    (
        f"{FORGED}[upgrade in part of a word]",
        ("token-whole", "any(token in member.lower() for member in self.tokens(name))"),
    ),
    (f"{FORGED}[a field too many]", "field-count"),
    (f"{FORGED}[a page of another site]", "origin"),
    ("live/test_bounds.py::test_origins", "origin"),
    ("test_opening.py::test_page_without_tls", ("secure-origin", "port is None")),
    ("test_opening.py::test_empty_lines", "empty-lines"),
    ("test_opening.py::test_pipelined_request", "linger"),
    ("test_opening.py::test_header_injection", "header-injection"),
    (
        "test_opening.py::test_fields_that_are_slow_to_take_apart",
        (
            "linear-fields",
            '[token for token in __import__("re").split("[ \\t]*,", value) if token]',
        ),
    ),
    ("test_opening.py::test_long_lists[parameters]", "offer-count"),
    ("test_opening.py::test_long_lists[extensions]", "offer-count"),
    ("test_opening.py::test_long_lists[addresses]", "member-count"),
    ("test_opening.py::test_tls_stalls", "open-timeout"),
    ("test_opening.py::test_tls_renegotiation", ("renegotiation", "1 << 8")),  # allows it
    ("test_opening.py::test_log_flood", ("log-rate", "True")),
    (
        "test_opening.py::test_log_injection",
        ("log-escape", 'self._warn(option + " %s refused", value)'),
    ),
    ("test_identity.py::test_dns_rebinding", "hosts"),
    ("test_identity.py::test_forged_addresses", ("proxies", "True")),
    ("live/test_admission.py::test_forwarded_by_anybody", ("proxies", "True")),
    ("live/test_admission.py::test_not_from_anybody", "proxy-header-peers"),
    (
        "live/test_admission.py::test_stalled_headers_block_nobody_and_end_in_time",
        "open-timeout",
    ),
    (
        "test_identity.py::test_forged_addresses_behind_a_proxy",
        ("forwarded-last", "forwarded_for"),
    ),
    ("test_identity.py::test_unknown_addresses_behind_a_proxy", ("unknown-address", "ip")),
    ("test_identity.py::test_clients_in_a_trusted_network", ("address-count", "True")),
    (
        "test_identity.py::test_passwords_are_compared_in_constant_time",
        ("password-time", 'secrets.get(name, b"") == password.encode()'),
    ),
    ("live/test_upgrade.py::test_line_ends_in_an_environ", "environ-lines"),
    ("test_crowds.py::test_many_connections_from_one_address", ("address-count", "True")),
    ("test_crowds.py::test_many_connections_from_many_addresses", ("client-count", "-1")),
    ("test_crowds.py::test_connections_beyond_count", "refused-count"),
    ("live/test_listen.py::test_accepting_makes_way_for_clients", "accept-time"),
    (
        "test_crowds.py::test_addresses_of_one_network",
        ("ipv6-network", "socket.inet_ntop(socket.AF_INET6, packed)"),
    ),
    ("test_crowds.py::test_descriptors_for_the_application", ("descriptor-reserve", "-1")),
    ("test_crowds.py::test_descriptor_exhaustion", "accept-pause"),
    ("live/test_bounds.py::test_no_descriptors_left_to_accept_with", "accept-errors"),
    ("test_crowds.py::test_churn", "connection-set"),
    (
        "test_crowds.py::test_abrupt_ends_cost_no_cpu",
        "end-of-tcp-watch",
        ("end-of-tcp", "None"),
    ),
    ("test_faults.py::test_peer_that_dies", "end-of-tcp-watch", ("end-of-tcp", "None")),
    (
        "test_faults.py::test_peer_that_dies_in_its_tls_handshake",
        "open-timeout",
        "tls-failure",
    ),
    ("test_crowds.py::test_compression_contexts", ("server-context", "True")),
    ("test_governed.py::test_crowd[bombs]", "fair-turns"),
    ("test_governed.py::test_crowd[heads]", "fair-turns"),
    ("test_governed.py::test_crowd[empties]", "fair-turns"),
    ("test_governed.py::test_crowd[hellos]", "fair-turns"),
    ("test_governed.py::test_crowd[computing]", "computing-alone", "computing-width"),
    ("test_governed.py::test_crowd[computing-long]", "computing-alone", "computing-width"),
    ("test_governed.py::test_crowd[unread]", "own-queue", "thread-share"),
    ("test_governed.py::test_crowd[mixture]", "memory-trim"),
    ("test_memory.py::test_unfinished_messages_of_a_crowd", "memory-bound", "memory-pause-timeout"),
    ("test_memory.py::test_unfinished_messages_that_leave_room", "memory-pause-timeout"),
    ("test_memory.py::test_long_messages_of_a_crowd", ("memory-pause", "True")),
    (
        "live/test_memory.py::test_messages_that_wait_for_callbacks_make_room_for_others",
        "memory-inbox",
    ),
    ("test_memory.py::test_replies_that_a_crowd_does_not_read", "memory-bound"),
    ("test_memory.py::test_broadcasts_that_a_crowd_does_not_read", "memory-bound"),
    ("test_account.py::test_account[large broadcasts]", ("shared-once", "True")),
    ("unit/test_backlog.py::test_what_it_takes_is_what_counts[1]", ("joined-pieces", "True")),
    ("test_memory.py::test_a_crowd_that_holds_much_gets_no_more_places", "memory-refusal"),
    ("test_application.py::test_an_address_leaves_threads_to_others", "thread-share"),
    (
        "live/test_threads.py::test_an_address_that_leaves_and_comes_back_gets_no_more_threads",
        ("share-of-leavers", "list(self._left)"),
    ),
    ("test_messages.py::test_declared_but_never_sent[1099511627776]", "message-size"),
    ("test_messages.py::test_declared_but_never_sent[9223372036854775808]", "length-form"),
    ("test_messages.py::test_unfinished_messages", "message-size"),
    ("test_messages.py::test_unfinished_messages", ("summed-size", "length")),
    ("test_messages.py::test_unfinished_text", ("text-as-bytes", "is_long")),
    ("test_messages.py::test_fragments", "fragment-count"),
    ("test_messages.py::test_bomb", ("inflated-size", "inflater.decompress(data)")),
    (
        "test_messages.py::test_bomb_in_fragments",
        ("inflated-left", "self.max_message_size"),
    ),
    ("test_messages.py::test_bombs_within_the_limit", "turns", "new-leader"),
    ("test_messages.py::test_read_ahead", "read-ahead"),
    ("test_messages.py::test_ping_flood", "turns"),
    ("test_messages.py::test_message_flood", "turns", "new-leader"),
    ("test_messages.py::test_ping_flood_unread", "unread-pongs"),
    (
        "test_messages.py::test_close_flood",
        ("close-ends-parsing", "continue"),
        "ends-once",
    ),
    ("test_messages.py::test_close_that_is_never_finished", "close-timeout"),
    ("live/test_endings.py::test_shutdown_does_not_wait_for_the_end_of_tcp", "goodbye-finish"),
    (
        "live/test_endings.py::test_shutdown_does_not_wait_for_peers_that_say_nothing",
        "goodbye-finish",
    ),
    ("test_messages.py::test_deflated_nothing", ("input-is-work", "0")),
    ("test_messages.py::test_crumbs_within_raised_limits", "joined-parts"),
    (
        "test_messages.py::test_masking",
        "unmask-numpy",
        ("unmask-bytes", "bytes(masked ^ octet for masked in data[i::4])"),
        ("read-size", "1 << 24"),
    ),
    ("test_messages.py::test_garbage", "reserved-bits"),
    ("test_slow_peers.py::test_half_open_peers", "unanswered-ping"),
    ("test_network.py::test_cut", "unanswered-ping"),
    ("test_slow_peers.py::test_never_reading_broadcasts", "slow-reader"),
    ("test_slow_peers.py::test_never_reading_replies", "ping-timeout"),
    ("test_slow_peers.py::test_trickling_readers", ("queue-room", "True")),
    ("test_application.py::test_blocking_callbacks", "new-leader"),
    (
        "live/test_threads.py::test_a_broadcast_keeps_the_lead_only_so_long",
        ("broadcast-lead", "False"),
    ),
    ("test_application.py::test_thread_exhaustion", ("thread-count", "10**6")),
    ("test_application.py::test_callbacks_that_raise", "raising-callbacks"),
    ("live/test_callbacks.py::test_a_callback_that_raises", "raising-callbacks"),
    ("test_application.py::test_exceptions_flood", ("log-rate", "True")),
    ("test_application.py::test_text_in_exceptions", "exception-escape"),
    ("test_network.py::test_slowed", "masking-key"),
    ("test_network.py::test_stalled", ("ping-timeout", "self._loop.schedule(self, now + 0.2)")),
    ("test_faults.py::test_call_that_fails", "fault-ends-source"),
    (
        "test_faults.py::test_clock_that_jumps",
        ("ping-timeout", "self._loop.schedule(self, self._limits.ping_timeout)"),
    ),
    ("test_faults.py::test_forked_child", "fork-shutdown"),
    ("live/test_fork.py::test_a_forked_child_serves_nobody_and_says_so", "server-fork"),
    (
        "live/test_fork.py::test_locks_that_are_held_at_the_fork_do_not_stop_the_child",
        "server-fork",
    ),
    ("test_faults.py::test_interpreter_that_ends", "exit-handler"),
    (
        "cluster/test_backplane.py::test_nothing_is_left_in_redis_of_a_node_that_is_killed",
        ("node-expiry", "10**6"),
    ),
    (
        "live/test_listen.py::test_a_unix_socket_replaces_nothing_else",
        "unix-kind",
        ("unix-abandoned", "True"),
    ),
    (
        "live/test_listen.py::test_a_unix_socket_that_was_replaced_is_left_alone",
        ("unix-own", "self._entry"),
    ),
    ("test_races.py::test_races", *LOCKS),
    ("test_races.py::test_races_without_the_gil", *LOCKS),
    ("test_differential.py::test_wsproto", "reserved-bits"),
    ("test_differential.py::test_websockets", "reserved-bits"),
    ("unit/test_model.py::test_any_stream_in_any_pieces", "reserved-bits"),
    ("live/test_client_opening.py::test_what_is_no_answer", "answer-size"),
    ("live/test_client_opening.py::test_the_handshake_has_a_deadline", "dial-deadline"),
    (
        "live/test_client_opening.py::test_a_wrong_answer_fails_the_connection",
        "answer-checks",
        "extension-asked",
    ),
    ("live/test_client_opening.py::test_redirected_from_tls_to_none", "redirect-downgrade"),
    (
        "live/test_client_opening.py::test_secrets_stay_with_the_server_that_they_are_for",
        "redirect-secrets",
    ),
    (
        "live/test_client_opening.py::test_certificates_are_verified",
        (
            "certificate",
            '[c for c in [{}] if not (setattr(c, "check_hostname", False)'
            ' or setattr(c, "verify_mode", 0))][0]',
        ),
    ),
    ("live/test_client_faults.py::test_a_fault_of_the_server", "mask-bit"),
    ("live/test_client_faults.py::test_a_close_frame_that_is_not_answered", "close-timeout"),
    ("live/test_client_faults.py::test_a_frozen_server_is_noticed", "unanswered-ping"),
    (
        "live/test_client_processes.py::test_a_forked_child_has_no_clients_of_its_parent",
        "client-fork",
    ),
    ("live/test_client_processes.py::test_the_interpreter_exits_with_clients_open", "client-exit"),
    (
        "live/test_client_reconnecting.py::test_pauses_grow_and_are_bounded",
        ("retry-pause", "0.0"),
    ),
    ("test_servers.py::test_messages_that_nobody_takes", ("client-inbox", "False")),
    ("test_servers.py::test_pongs_that_are_not_read", "unread-pongs"),
    ("test_servers.py::test_a_message_that_is_too_large", "message-size"),
    *chat_defences.TESTS,
]


def weakenings(taken):
    """Return (name, replacement or None) for each entry of a test."""
    return [(entry, None) if isinstance(entry, str) else entry for entry in taken]


def marked(folder=ROOT):
    """Return all that is marked in ws/ and chat/ in a folder: (path, what it is) by name."""
    found = {}
    for path in sorted([*(folder / "ws").rglob("*.py"), *(folder / "chat").rglob("*.py")]):
        for name, what in marks.find(path.read_text(encoding="utf-8")).items():
            assert name not in found, f"{name} is marked in {found[name][0]} and in {path}"
            found[name] = path, what
    return found


def weaken(folder, taken):
    """Take defences out of the sources in a folder."""
    for name, replacement in weakenings(taken):
        path, what = marked(folder)[name]
        path.write_text(what.without(replacement), encoding="utf-8")


def path_of(test):
    """Return where a test is: in this folder, or in one beside it."""
    attack = Path("tests", "attacks", test)
    return attack if (ROOT / str(attack).partition("::")[0]).exists() else Path("tests", test)


def outcome(test, taken):
    """Say how a test ends without its defences."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in ("ws", "tests", "chat"):
            shutil.copytree(str(ROOT / part), str(folder / part))
        shutil.copy(str(ROOT / "pyproject.toml"), name)
        weaken(folder, taken)
        pytest = [sys.executable, "-m", "pytest", "-qx", "--timeout=90", str(path_of(test))]
        done = subprocess.run(pytest, cwd=name, stdout=subprocess.PIPE, check=False)
    output = done.stdout.decode()
    if done.returncode not in (0, 1):
        print(output)
    if done.returncode == 0 and " passed" not in output:
        return "skipped"
    return {0: "PASSES", 1: "fails"}.get(done.returncode, "ERROR")


def main():
    chosen = [
        (test, taken)
        for test, *taken in TESTS
        if not sys.argv[1:] or any(name in test for name in sys.argv[1:])
    ]
    results = collections.Counter()
    for test, taken in chosen:
        result = outcome(test, taken)
        results[result] += 1
        names = ", ".join(name for name, _ in weakenings(taken))
        print(f"{result:8}{test:72} without {names}", flush=True)
    print(f"{results['fails']} of {len(chosen)} tests fail without their defence")
    return len(chosen) > results["fails"] + results["skipped"]


if __name__ == "__main__":
    sys.exit(main())
