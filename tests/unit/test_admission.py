"""Admission: bounds in total and by address, trusted proxies, and the checks of a request.

Over 400 lines, because the checks follow each other, and one table shows what the next relies on.
"""

from __future__ import annotations

import logging

import pytest

from tests.support.heads import head
from tests.support.tables import table
from ws import Limits
from ws.admission import REFUSED_SPARE, Admission, TooMany, ip_of, network_of
from ws.engine.budget import Holder
from ws.engine.log import Warnings
from ws.engine.overload import Overload
from ws.wire.http11 import HandshakeError, RequestReader
from ws.wire.proxy import UNKNOWN, Proxies

ADDRESS = ("1.1.1.1", 5000)


class Connection:
    """A connection that has only what admission uses. It is its own client, too."""

    def __init__(self, address):
        self.client, self.address = self, address
        self.refusal = None
        self.disposed = False

    def getpeername(self):
        return self.address

    def attach(self, address, cut):
        assert cut == self.cut
        self.address = address

    def cut(self, reason):
        raise AssertionError("nobody is cut here")

    def dispose(self):
        self.disposed = True


class Door:
    """Admission with its warnings noted."""

    def __init__(self, *, origins=(), hosts=None, proxies=(), proxy_protocol=False, **limits):
        self.warnings = []
        self.limits = Limits(**limits)
        self.overload = Overload(self.limits, self.warn)
        self.admission = Admission(
            self.limits,
            overload=self.overload,
            origins=origins,
            hosts=hosts,
            proxies=Proxies(proxies),
            proxy_protocol=proxy_protocol,
            warn=self.warn,
        )

    def warn(self, message, *values):
        self.warnings.append(message % values)

    def knock(self, address, descriptor=5):
        """Admit a peer; return its connection, the status of its refusal, or TooMany."""
        try:
            refusal = self.admission.check_peer(address, descriptor)
        except TooMany:
            return TooMany
        connection = Connection(address)
        connection.refusal = refusal
        self.admission.enter(connection, address)
        return refusal.response.status if refusal else connection

    def enter(self, ip, number=1):
        """Let connections from one address in, which nothing may refuse."""
        connections = [self.knock((ip, port)) for port in range(number)]
        assert all(isinstance(connection, Connection) for connection in connections)
        return connections

    def ask(self, connection, *lines, start="GET /chat HTTP/1.1", **fields):
        """Have a request checked. Return it, or the status of its refusal."""
        request, _ = RequestReader(10_000).feed(head(start, *lines, **fields))
        try:
            self.admission.check_request(connection, request)
        except HandshakeError as error:
            return error.response.status
        return request


@table(
    "address, ip",
    ("IPv4", ("1.2.3.4", 80), "1.2.3.4"),
    ("IPv6", ("::1", 80, 0, 0), "::1"),
    ("a Unix socket", "", ""),
    ("a Unix socket with a name", "/run/peer.sock", ""),
    ("a Unix socket with an abstract name", b"\0peer", ""),
)
def test_ip_of(address, ip):
    assert ip_of(address) == ip


@table(
    "ip, network",
    ("a Unix socket", "", ""),
    ("a client of an unknown address", "unknown", "unknown"),
    ("IPv4", "1.2.3.4", "1.2.3.4"),
    ("IPv6", "2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
    ("the same network", "2001:db8:1:2::", "2001:db8:1:2::/64"),
    ("another", "2001:db8:1:3::", "2001:db8:1:3::/64"),
    ("with a zone", "fe80::1%eth0", "fe80::/64"),
    ("IPv4 as IPv6", "::ffff:1.2.3.4", "1.2.3.4"),
    ("in other words", "::ffff:102:304", "1.2.3.4"),
    ("IPv4 by way of a translator", "64:ff9b::1.2.3.4", "1.2.3.4"),
    ("this machine", "::1", "::/64"),
)
def test_network_of(ip, network):
    assert network_of(ip) == network


# Bounds


def test_connections_are_counted_from_entering_to_leaving():
    door = Door()
    one, two = door.enter("1.1.1.1", 2)
    assert len(door.admission) == 2
    door.admission.connections.clear()  # a copy
    assert door.admission.connections == [one, two]
    door.admission.leave(one)
    door.admission.leave(one)
    assert door.admission.connections == [two]


def test_one_network_or_more():
    door = Door()
    assert door.admission.is_one_network()
    door.enter("1.1.1.1", 2)
    assert door.admission.is_one_network()
    (other,) = door.enter("2.2.2.2")
    assert not door.admission.is_one_network()
    door.admission.leave(other)
    assert door.admission.is_one_network()


def test_a_network_keeps_its_share_while_its_callbacks_run():
    """Or who leaves and comes back would get as many threads once more."""
    door = Door()
    (gone,) = door.enter("1.1.1.1")
    (stays,) = door.enter("2.2.2.2")
    share = gone.share
    share.workers = 1
    door.admission.leave(gone)
    assert door.admission.is_one_network(), "none of the other has a place"
    (back,) = door.enter("1.1.1.1")
    assert back.share is share and share.connections == 1
    share.workers = 0
    door.admission.leave(back)
    (anew,) = door.enter("1.1.1.1")
    assert anew.share is not share
    for connection in (anew, stays):
        door.admission.leave(connection)
    assert door.admission.is_one_network()


def test_max_clients():
    door = Door(max_clients=2)
    one, _ = door.enter("1.1.1.1", 2)
    assert door.knock(("2.2.2.2", 1)) == 503
    assert door.warnings == ["max_clients=2 reached, refusing 2.2.2.2"]
    for connection in door.admission.connections[1:]:
        door.admission.leave(connection)
    assert isinstance(door.knock(("2.2.2.2", 1)), Connection)
    assert one in door.admission.connections


def test_far_over_max_clients_there_is_no_answer():
    door = Door(max_clients=2)
    door.enter("1.1.1.1", 2)
    answers = [door.knock(("2.2.2.2", port)) for port in range(REFUSED_SPARE + 3)]
    assert answers == [503] * REFUSED_SPARE + [TooMany] * 3
    assert len(door.admission) == 2 + REFUSED_SPARE


def test_max_clients_per_address():
    door = Door(max_clients_per_address=2)
    door.enter("1.1.1.1", 2)
    assert door.knock(("1.1.1.1", 9)) == 429
    assert door.warnings == ["max_clients_per_address=2 reached by 1.1.1.1"]
    assert isinstance(door.knock(("2.2.2.2", 9)), Connection), "another one isn't concerned"


def test_far_over_the_bound_of_an_address_there_is_no_answer():
    door = Door(max_clients_per_address=2)
    door.enter("1.1.1.1", 2)
    answers = [door.knock(ADDRESS) for _ in range(REFUSED_SPARE + 3)]
    assert answers == [429] * REFUSED_SPARE + [TooMany] * 3
    assert isinstance(door.knock(("2.2.2.2", 1)), Connection)


def test_an_address_has_its_places_back_when_its_connections_leave():
    door = Door(max_clients_per_address=2)
    one, two = door.enter("1.1.1.1", 2)
    door.admission.leave(one)
    door.admission.leave(one)  # counts only once
    assert isinstance(door.knock(ADDRESS), Connection)
    assert door.knock(ADDRESS) == 429
    assert two in door.admission.connections


def test_both_bounds_reached_is_a_fault_of_the_server_not_of_the_address():
    door = Door(max_clients=1, max_clients_per_address=1)
    door.enter("1.1.1.1")
    assert door.knock(ADDRESS) == 503


@table(
    "proxies, address",
    ("an address", ["1.1.1.1"], ADDRESS),
    ("a network", ["1.0.0.0/8"], ADDRESS),
    ("a trusted Unix socket", ["unix"], ""),
    ("any Unix socket: it has no address", [], ""),
)
def test_no_bound_for_one_address(proxies, address):
    door = Door(proxies=proxies, max_clients_per_address=1)
    assert all(isinstance(door.knock(address), Connection) for _ in range(5))
    assert not door.warnings


def test_the_bound_in_all_applies_to_trusted_proxies_too():
    door = Door(proxies=["1.1.1.1"], max_clients=1)
    door.enter("1.1.1.1")
    assert door.knock(ADDRESS) == 503


def test_addresses_of_one_network_of_ipv6_count_together():
    door = Door(max_clients_per_address=10)
    peers = [door.knock((f"2001:db8::{number:x}", 1, 0, 0)) for number in range(300)]
    assert all(isinstance(peer, Connection) for peer in peers[:10])
    assert peers[10:] == [429] * REFUSED_SPARE + [TooMany] * (290 - REFUSED_SPARE)
    assert set(door.warnings) == {"max_clients_per_address=10 reached by 2001:db8::/64"}
    assert isinstance(door.knock(("2001:db8:0:1::", 1, 0, 0)), Connection), "another network"


def test_an_address_of_ipv4_counts_as_itself_inside_ipv6():
    door = Door(max_clients_per_address=1)
    door.enter("1.1.1.1")
    assert door.knock(("::ffff:1.1.1.1", 1, 0, 0)) == 429
    assert isinstance(door.knock(("::ffff:1.1.1.2", 1, 0, 0)), Connection)


# Descriptors


@pytest.fixture
def provided(monkeypatch):
    """Have the system provide descriptors from one number to another; note for how many."""
    asked = []

    def provide(free, reserved):
        monkeypatch.setattr(
            "ws.admission.provide", lambda number: asked.append(number) or (free, reserved)
        )
        return asked

    return provide


def test_there_is_a_descriptor_for_each_connection_and_for_refusals(provided):
    asked = provided(10, 10_110)
    door = Door()
    door.admission.prepare()
    assert asked == [10_000 + REFUSED_SPARE]
    assert not door.warnings
    assert isinstance(door.knock(ADDRESS, 10_009), Connection)


def test_with_few_descriptors_there_are_fewer_connections(provided):
    provided(20, 896)
    door = Door(max_clients=10_000, max_clients_per_address=1_000)
    door.admission.prepare()
    (warning,) = door.warnings
    assert warning.startswith("max_clients=10000, but the system's limit on descriptors")
    assert "only 776:" in warning and "or pass max_clients=776" in warning
    assert isinstance(door.knock(("2.2.2.2", 1), 795), Connection)
    assert [door.knock(("2.2.2.2", 1), number) for number in (796, 895, 896)] == [503, 503, TooMany]
    assert (
        door.warnings[1:]
        == ["only the application's reserve of descriptors is left, refusing 2.2.2.2"] * 3
    )


def test_the_bound_of_an_address_keeps_its_proportion(provided):
    provided(20, 896)
    door = Door(max_clients=10_000, max_clients_per_address=1_000)
    door.admission.prepare()
    door.enter("1.1.1.1", 77)
    assert door.knock(ADDRESS) == 429
    assert isinstance(door.knock(("2.2.2.2", 1)), Connection)


@table(
    "reserved, limits, places",
    ("the default", 48, {}, 10),
    ("what was asked for, if it is less", 48, {"max_clients_per_address": 3}, 3),
)
def test_where_there_are_few_places_an_address_may_have_some(provided, reserved, limits, places):
    provided(8, reserved)
    door = Door(**limits)
    door.admission.prepare()
    door.enter("1.1.1.1", places)
    assert door.knock(ADDRESS) == 429


def test_hardly_any_descriptors(provided):
    provided(20, 20)
    door = Door()
    door.admission.prepare()
    assert door.knock(ADDRESS, 20) is TooMany
    assert isinstance(door.knock(ADDRESS, 19), Connection), "one that was closed meanwhile"


@table(
    "limits, warned",
    ("the default", {}, False),
    ("a few clients", {"max_clients": 10}, False),
    ("as many", {"max_clients": 500, "max_clients_per_address": 500}, True),
    ("more", {"max_clients": 500, "max_clients_per_address": 501}, True),
    ("fewer", {"max_clients": 500, "max_clients_per_address": 499}, False),
)
def test_one_address_that_may_take_all_places_is_worth_a_warning(provided, limits, warned):
    provided(10, 20_000)
    door = Door(**limits)
    door.admission.prepare()
    clients, per_address = door.limits.max_clients, door.limits.max_clients_per_address
    warning = f"max_clients_per_address={per_address} lets one address take all of max_clients="
    assert door.warnings == [f"{warning}{clients}"] * warned


# The PROXY protocol


@table(
    "proxies, address, warning",
    ("a stranger", ["10.0.0.0/8"], ADDRESS, "1.1.1.1 refused"),
    ("a stranger although Unix sockets are trusted", ["unix"], ADDRESS, "1.1.1.1 refused"),
    ("a Unix socket that isn't trusted", ["10.0.0.0/8"], "", "unix refused"),
)
def test_without_the_proxy_there_is_no_way_in(proxies, address, warning):
    door = Door(proxies=proxies, proxy_protocol=True)
    assert door.knock(address) is TooMany
    assert door.warnings == [f"{warning}; to let it in, pass trusted_proxies=[...]"]


@pytest.mark.parametrize("proxies, address", [(["10.0.0.0/8"], ("10.9.9.9", 1)), (["unix"], "")])
def test_the_proxy_may_come_in(proxies, address):
    door = Door(proxies=proxies, proxy_protocol=True)
    assert isinstance(door.knock(address), Connection)


def test_a_header_of_the_proxy_protocol_moves_the_count():
    door = Door(proxies=["10.0.0.1"], proxy_protocol=True, max_clients_per_address=1)
    one, two, three = door.enter("10.0.0.1", 3)
    door.admission.rename(one, ("1.1.1.1", 7))
    assert one.getpeername() == ("1.1.1.1", 7)
    assert one.refusal is None
    door.admission.rename(two, ("1.1.1.1", 8))
    assert two.refusal.response.status == 429
    assert two.getpeername() == ("1.1.1.1", 8), "the refusal is for the client, as logged"
    for connection in (one, two):
        door.admission.leave(connection)
    door.admission.rename(three, ("1.1.1.1", 9))
    assert three.refusal is None, "both have given their places back"


def test_a_header_without_an_address_moves_the_count_too():
    door = Door(proxies=["10.0.0.1"], proxy_protocol=True, max_clients_per_address=1)
    one, two = door.enter("10.0.0.1", 2)
    for connection in (one, two):
        door.admission.rename(connection, (UNKNOWN, 0))
    assert one.refusal is None and two.refusal.response.status == 429
    assert two.getpeername() == ("10.0.0.1", 1)


def test_far_over_the_bound_a_renamed_connection_is_closed():
    door = Door(proxies=["10.0.0.1"], proxy_protocol=True, max_clients_per_address=1)
    connections = door.enter("10.0.0.1", 1 + REFUSED_SPARE + 1)
    for connection in connections:
        door.admission.rename(connection, ADDRESS)
    assert [connection.disposed for connection in connections[-2:]] == [False, True]


def test_a_connection_that_has_left_is_not_counted_by_a_late_header():
    door = Door(proxies=["10.0.0.1"], proxy_protocol=True, max_clients_per_address=1)
    one, two = door.enter("10.0.0.1", 2)
    door.admission.leave(one)
    door.admission.rename(one, ADDRESS)
    door.admission.rename(two, ADDRESS)
    assert two.refusal is None


def test_a_refusal_of_before_stays():
    door = Door(proxies=["10.0.0.1"], proxy_protocol=True, max_clients=1)
    door.enter("10.0.0.1")
    assert door.knock(("10.0.0.1", 2)) == 503
    refused = door.admission.connections[-1]
    door.admission.rename(refused, ADDRESS)
    assert refused.refusal.response.status == 503


# The checks of a request


def test_a_refusal_is_the_answer_to_the_request():
    door = Door(max_clients_per_address=1)
    door.enter("1.1.1.1")
    assert door.knock(ADDRESS) == 429
    refused = door.admission.connections[-1]
    assert door.ask(refused) == 429
    assert door.ask(refused, start="GET / HTTP/1.1", Upgrade=None) == 429, "a page as well"


@table(
    "options, ip, lines, address, secure",
    ("a client that came by itself", {}, "1.1.1.1", [], ("1.1.1.1", 0), False),
    ("one that tells tales", {}, "1.1.1.1", ["X-Forwarded-For: 9.9.9.9"], ("1.1.1.1", 0), False),
    ("of TLS", {}, "1.1.1.1", ["X-Forwarded-Proto: https"], ("1.1.1.1", 0), False),
    ("a proxy", {}, "10.0.0.1", ["X-Forwarded-For: 9.9.9.9"], ("9.9.9.9", 0), False),
    ("by TLS", {}, "10.0.0.1", ["X-Forwarded-Proto: https"], ("10.0.0.1", 0), True),
    ("by TLS, other words", {}, "10.0.0.1", ["X-Forwarded-Proto: WSS"], ("10.0.0.1", 0), True),
    ("not by TLS", {}, "10.0.0.1", ["X-Forwarded-Proto: https, http"], ("10.0.0.1", 0), False),
    ("an unknown client", {}, "10.0.0.1", ["X-Forwarded-For: unknown"], ("10.0.0.1", 0), False),
    (
        "the last one counts",
        {},
        "10.0.0.1",
        ["X-Forwarded-For: 6.6.6.6", "X-Forwarded-For: 9.9.9.9, 10.0.0.2"],
        ("9.9.9.9", 0),
        False,
    ),
    (
        "a header came before, so these may be anybody's",
        {"proxy_protocol": True},
        "10.0.0.1",
        ["X-Forwarded-For: 9.9.9.9", "X-Forwarded-Proto: https"],
        ("10.0.0.1", 0),
        False,
    ),
)
def test_forwarded(options, ip, lines, address, secure):
    door = Door(proxies=["10.0.0.0/8"], **options)
    (connection,) = door.enter(ip)
    request = door.ask(connection, *lines)
    assert request.address == connection.getpeername() == address
    assert request.secure is secure


def test_clients_of_a_proxy_count_by_the_addresses_that_it_tells():
    door = Door(proxies=["10.0.0.1"], max_clients_per_address=2)
    connections = door.enter("10.0.0.1", 5)
    answers = [door.ask(connection, "X-Forwarded-For: 9.9.9.9") for connection in connections]
    assert answers[2:] == [429] * 3
    assert door.warnings == ["max_clients_per_address=2 reached by 9.9.9.9"] * 3
    for connection in connections:
        door.admission.leave(connection)
    (connection,) = door.enter("10.0.0.1")
    assert door.ask(connection, "X-Forwarded-For: 9.9.9.9").address == ("9.9.9.9", 0)


@table(
    "forwarded_for",
    ("in so many words", "unknown"),
    ("no address", "unix:"),
    ("nothing that makes sense", "9.9.9.9, %"),
    ("behind another proxy", "9.9.9.9, unknown, 10.0.0.2"),
)
def test_clients_that_a_proxy_does_not_tell_count_together(forwarded_for):
    door = Door(proxies=["10.0.0.0/8"], max_clients_per_address=2)
    connections = door.enter("10.0.0.1", 5)
    header = f"X-Forwarded-For: {forwarded_for}"
    answers = [door.ask(connection, header) for connection in connections]
    assert answers[2:] == [429] * 3
    assert [answer.address for answer in answers[:2]] == [("10.0.0.1", 0), ("10.0.0.1", 1)]
    assert door.warnings == ["max_clients_per_address=2 reached by unknown"] * 3
    assert door.ask(*door.enter("10.0.0.1")).address == ("10.0.0.1", 0), "the proxy itself"


@table(
    "ip",
    ("another proxy, which has no place of its own here", "10.0.0.2"),
    ("the same one", "10.0.0.1"),
)
def test_only_a_proxy_that_connects_by_itself_is_exempt(ip):
    door = Door(proxies=["10.0.0.0/8"], max_clients_per_address=4)
    connections = door.enter("10.0.0.1", 5)
    answers = [door.ask(connection, f"X-Forwarded-For: {ip}") for connection in connections]
    assert 429 in answers


def test_clients_of_one_network_count_together_behind_a_proxy():
    door = Door(proxies=["10.0.0.1"], max_clients_per_address=2)
    connections = door.enter("10.0.0.1", 3)
    answers = [
        door.ask(connection, f"X-Forwarded-For: 2001:db8::{number}")
        for number, connection in enumerate(connections)
    ]
    assert answers[2] == 429


def test_a_flood_that_a_proxy_tells_of_is_closed():
    door = Door(proxies=["10.0.0.1"], max_clients_per_address=1)
    connections = door.enter("10.0.0.1", REFUSED_SPARE + 2)
    for connection in connections:
        door.ask(connection, "X-Forwarded-For: 9.9.9.9")
    assert [connection.disposed for connection in connections[-2:]] == [False, True]


@table(
    "hosts, host, refused",
    ("any", None, "evil.example", False),
    ("one", ["a.example"], "a.example", False),
    ("with a port", ["a.example"], "a.example:8000", False),
    ("one of several", ["a.example", "*.b.example"], "www.b.example", False),
    ("none of several", ["a.example", "*.b.example"], "evil.example", True),
)
def test_hosts(hosts, host, refused):
    door = Door(hosts=hosts)
    (connection,) = door.enter("1.1.1.1")
    for fields in ({}, {"Upgrade": None}):  # a page gets no secrets either
        answer = door.ask(connection, Host=host, **fields)
        assert (answer == 421) is refused
    warning = f"host '{host}' refused; to let it in, pass hosts=[...]"
    assert door.warnings == [warning] * 2 * refused


def test_hosts_that_can_be_none_are_refused_at_once():
    with pytest.raises(ValueError, match="hosts="):
        Door(hosts=["http://a.example"])


@table(
    "origins, origin, refused",
    ("no page", [], None, False),
    ("a page of this host", [], "http://server.example.com", False),
    ("of another port", [], "http://server.example.com:81", True),
    ("of another host", [], "https://evil.example", True),
    ("from a file", [], "null", True),
    ("that may be", ["null"], "null", False),
    ("listed", ["https://a.example"], "https://a.example", False),
    ("not listed", ["https://a.example"], "https://b.example", True),
    ("any", ["*"], "https://b.example", False),
)
def test_origins(origins, origin, refused):
    door = Door(origins=origins)
    (connection,) = door.enter("1.1.1.1")
    assert (door.ask(connection, Origin=origin) == 403) is refused
    warning = f"origin '{origin}' refused; to let it in, pass origins=[...]"
    assert door.warnings == [warning] * refused


def test_the_origin_of_a_page_request_does_not_matter():
    door = Door()
    (connection,) = door.enter("1.1.1.1")
    assert door.ask(connection, Origin="https://b.example", Upgrade=None).address == ("1.1.1.1", 0)


def test_what_a_peer_has_sent_can_not_forge_log_lines():
    door = Door()
    (connection,) = door.enter("1.1.1.1")
    assert door.ask(connection, Origin="\x9b2J\x85forged") == 403
    (warning,) = door.warnings
    assert "'\\x9b2J\\x85forged'" in warning


def test_other_faults_of_a_handshake_are_no_warnings():
    door = Door()
    (connection,) = door.enter("1.1.1.1")
    assert door.ask(connection, Sec_WebSocket_Version="8") == 426
    assert not door.warnings


def hold(door, ip, size):
    """Have a connection from an address hold memory."""
    holder = Holder()
    (connection,) = door.enter(ip)
    holder.share = connection.share
    door.overload.budget.charge(holder, size)
    return holder


def test_when_memory_is_short_who_holds_most_gets_no_more_connections():
    door = Door(max_memory=100 << 20)
    holder = hold(door, "1.1.1.1", 80 << 20)
    hold(door, "2.2.2.2", 1 << 20)
    assert door.knock(("1.1.1.1", 7)) == 503
    assert door.warnings == [f"3/4 of max_memory={100 << 20} are held: refusing 1.1.1.1"]
    assert door.overload.refusals == 1
    door.enter("2.2.2.2")
    door.enter("3.3.3.3")
    door.overload.budget.charge(holder, -(10 << 20))
    door.enter("1.1.1.1")


def test_warnings_are_rate_limited(caplog):
    limits = Limits(max_clients_per_address=1)
    admission = Admission(
        limits,
        overload=Overload(limits, print),
        origins=(),
        hosts=None,
        proxies=Proxies([]),
        proxy_protocol=False,
        warn=Warnings().warn,
    )
    admission.enter(Connection(ADDRESS), ADDRESS)
    for _ in range(10):
        assert admission.check_peer(ADDRESS, 5)
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
