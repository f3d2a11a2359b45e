"""Certificates of a test authority, and TLS contexts of clients and servers for them."""

from __future__ import annotations

import functools
import ssl
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple


class Certificate(NamedTuple):
    """Paths of a certificate and its key, as WSServer's options take them."""

    cert: str
    key: str

    @property
    def options(self) -> dict[str, str]:
        """The two as options of WSServer."""
        return {"cert": self.cert, "key": self.key}


@functools.lru_cache(maxsize=None)
def authority() -> Any:
    """Return the authority that issues all certificates of this process."""
    import trustme  # callers of unverified_context may not have it installed

    return trustme.CA()


def issue(folder: Path | str, *names: str) -> Certificate:
    """Write a certificate to cert.pem and its key to key.pem.

    Args:
        folder: Where to write.
        names: Hosts and addresses that it is for; localhost and 127.0.0.1 by default.
    """
    issued = authority().issue_cert(*(names or ("localhost", "127.0.0.1")))
    cert, key = Path(folder, "cert.pem"), Path(folder, "key.pem")
    cert.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    key.write_bytes(issued.private_key_pem.bytes())
    return Certificate(str(cert), str(key))


def server_context() -> ssl.SSLContext:
    """Return the context of a server with a certificate for localhost and 127.0.0.1."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority().issue_cert("localhost", "127.0.0.1").configure_cert(context)
    return context


def trusting_context() -> ssl.SSLContext:
    """Return a client's context that trusts the authority."""
    context = ssl.create_default_context()
    authority().configure_trust(context)
    return context


def client_hello() -> bytes:
    """Return the first message of a TLS handshake."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with suppress(ssl.SSLWantReadError):
        unverified_context().wrap_bio(incoming, outgoing).do_handshake()
    return outgoing.read()


def unverified_context() -> ssl.SSLContext:
    """Return a client's context that takes any certificate, for servers of other processes."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def issue_rsa(folder: Path | str, bits: int) -> Certificate:
    """Write a certificate with an RSA key, signed by itself, and its key: see `issue`."""
    import datetime

    from cryptography import x509  # trustme needs it, too
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(65537, bits)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    day, now = datetime.timedelta(days=1), datetime.datetime.now()
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - day).not_valid_after(now + day)
    paths = Certificate(str(Path(folder, "cert.pem")), str(Path(folder, "key.pem")))
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    Path(paths.cert).write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(pem))
    Path(paths.key).write_bytes(key.private_bytes(pem, pkcs8, serialization.NoEncryption()))
    return paths
