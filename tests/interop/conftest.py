"""The rows, each with a process that serves all of its checks; and the table of the results."""

from __future__ import annotations

import pytest

from tests.interop import table
from tests.interop.links import ClientLink, ServerLink
from tests.interop.packages import advice, version
from tests.interop.processes import ForeignClient, ForeignServer
from tests.interop.rows import CLIENTS, ROWS
from tests.support import certificates
from tests.support.missing import pytest_runtest_makereport  # noqa: F401 -- a hook


def pytest_addoption(parser):
    group = parser.getgroup("interop")
    group.addoption("--all", action="store_true", help="all programs, not only the quick half")
    group.addoption(
        "--write-table", action="store_true", help="with --all: write the results' table"
    )


def pytest_configure(config):
    if config.getoption("--write-table", False) and not hasattr(config, "workerinput"):
        config.pluginmanager.register(table.Writer())


def pytest_generate_tests(metafunc):
    if "peer" in metafunc.fixturenames:
        check = metafunc.function.__name__[len("test_") :]
        chosen = [row for row in ROWS if row.quick or metafunc.config.getoption("--all", False)]
        able = [row for row in chosen if check not in row.cannot]
        ids = [row.id for row in able]
        metafunc.parametrize("peer", able, ids=ids, indirect=True, scope="module")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    """Order the tests by rows, so that each row needs one process."""
    order = {row.id: number for number, row in enumerate(ROWS)}
    items.sort(key=lambda item: order[item.callspec.id] if hasattr(item, "callspec") else -1)


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    """A certificate for localhost and 127.0.0.1; ca.pem is beside it."""
    folder = tmp_path_factory.mktemp("certificate")
    certificates.authority().cert_pem.write_to_path(folder / "ca.pem")
    return certificates.issue(folder)


@pytest.fixture(scope="module")
def peer(request, certificate):
    """The row's process, for all of its checks."""
    row = request.param
    for need in row.needs:
        if version(need) is None:
            pytest.skip(f"{row.name} is missing: {advice(need)}")
    ca = certificate.cert.replace("cert.pem", "ca.pem")
    with (ForeignClient if row in CLIENTS else ForeignServer)(row, ca=ca) as peer:
        yield peer


@pytest.fixture
def link(request, peer, certificate, record_property):
    """Connect an end of ours with the process. A new link ends the last one."""
    record_property("cell", (peer.row.id, request.function.__name__[len("test_") :]))
    links = []

    def connect(*, tls=False, **options):
        end()
        kind = ServerLink if peer.row in CLIENTS else ClientLink
        links.append(kind(peer, certificate if tls else None, **options))
        links[-1].open()
        return links[-1]

    def end():
        while links:
            links.pop().end()

    yield connect
    end()
    print(peer.output()[-2000:])
