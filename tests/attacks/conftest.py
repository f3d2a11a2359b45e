"""Victims, shut down at the end, and a certificate."""

from __future__ import annotations

import sys

import pytest

from tests.attacks.victim import Victim


@pytest.fixture
def victim():
    """Start a server with the given options; it has to end by itself after the test."""
    if not sys.platform.startswith("linux"):
        pytest.skip("memory, threads and descriptors are read in /proc")
    victims = []

    def start(**options):
        victims.append(Victim(**options))
        return victims[-1]

    yield start
    for victim in victims:
        for peer in victim.peers:
            peer.close()
        try:
            victim.process.communicate(timeout=10)
        finally:
            victim.process.kill()
            victim.process.communicate()
        assert victim.process.returncode == 0


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    """Return paths of a certificate for localhost and its key."""
    import trustme

    folder = tmp_path_factory.mktemp("certificate")
    certificate = trustme.CA().issue_cert("localhost")
    key, chain = folder / "key.pem", folder / "cert.pem"
    certificate.private_key_pem.write_to_path(str(key))
    for blob in certificate.cert_chain_pems:
        blob.write_to_path(str(chain), append=True)
    return {"cert": str(chain), "key": str(key)}
