"""The files of docs/deploy/ as far as they can be read without running them."""

from __future__ import annotations

import re

import pytest

from tests.support import ROOT

DEPLOY = ROOT / "docs/deploy"


def test_the_composed_nodes_trust_their_proxy_only():
    text = (DEPLOY / "compose.yaml").read_text(encoding="utf-8")
    trusted = re.findall(r'"--proxy", "([^"]*)"', text)
    (address,) = re.findall(r'ipv4_address: "([^"]*)"', text)
    assert trusted == [address]
    assert re.fullmatch(r"\$\{NETWORK:-[\d.]+\}\.\d+", address)
    assert f'ip_range: "{address.rpartition(".")[0]}.128/25"' in text, "nobody else gets it"


@pytest.mark.parametrize("unit", ["chat@.service", "chat-workers.service"])
def test_units_trust_this_machine_at_most(unit):
    text = (DEPLOY / unit).read_text(encoding="utf-8")
    assert set(re.findall(r"--proxy (\S+)", text)) <= {"127.0.0.1"}
