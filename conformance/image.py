"""The image of the Autobahn suite, which is found, pulled or built."""

from __future__ import annotations

import hashlib
import shutil
import ssl
import tempfile
from pathlib import Path

import certifi
import docker

from conformance.engine import Say, build, exists, find_base, pull

SUITE = "autobahntestsuite==25.10.1"
PUBLIC = "crossbario/autobahn-testsuite:25.10.1"
DOCKERFILE = Path(__file__).parent / "Dockerfile"


def find_image(client: docker.DockerClient, say: Say) -> str:
    """Find, pull or build an image of the suite; return its name."""
    content = DOCKERFILE.read_bytes() + SUITE.encode()
    own = f"ws-autobahn:{hashlib.sha256(content).hexdigest()[:12]}"
    for name in (PUBLIC, own):
        if exists(client, name):
            return name
    if pull(client, PUBLIC, say):
        return PUBLIC
    base = find_base(client, "bullseye", say)
    certificates = ssl.get_default_verify_paths().cafile or certifi.where()
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(DOCKERFILE, folder)
        shutil.copy(certificates, Path(folder, "ca-certificates.crt"))
        return build(client, own, Path(folder), "Dockerfile", say, BASE=base, SUITE=SUITE)
