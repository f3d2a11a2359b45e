"""Credits: how they are taken and come back, and whose they are."""

from __future__ import annotations

import types

import pytest

from chat import credits
from chat.credits import Account, Accounts, Bucket, network_of, price


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until the test sets its `now`."""
    clock = types.SimpleNamespace(now=1000.0)
    monkeypatch.setattr(credits.time, "monotonic", lambda: clock.now)
    return clock


def test_a_bucket_is_full_at_first_and_fills_again(clock):
    bucket = Bucket(10, 2)
    assert bucket.wait(10) == 0
    bucket.take(10)
    assert bucket.wait(1) == 0.5
    assert bucket.wait(10) == bucket.wait(99) == 5, "more than it holds isn't waited for"
    clock.now += 1.5
    assert bucket.wait(3) == 0
    assert bucket.taken() == 7
    clock.now += 100
    assert bucket.taken() == 0


def test_a_debt_is_bounded(clock):
    bucket = Bucket(10, 2)
    for _ in range(100):
        bucket.take(9)
    assert bucket.wait(0) == 5
    clock.now += 5
    assert bucket.wait(0) == 0
    assert bucket.wait(1) > 0


def test_work_is_done_until_it_is_a_debt_and_then_refused(clock):
    account = Account()
    assert account.work(credits.WORK_CREDITS - 1) == 0
    assert account.work(11) == 0, "a credit was left"
    assert account.work(0) == pytest.approx(10 / credits.WORK_CREDITS_PER_SECOND)
    clock.now += 11 / credits.WORK_CREDITS_PER_SECOND
    assert account.work(0) == 0


@pytest.mark.parametrize(
    ("spend", "at_once", "per_hour"),
    [
        ("store_text", credits.TEXT_BYTES, credits.TEXT_BYTES_PER_HOUR),
        ("store_file", credits.FILE_BYTES, credits.FILE_BYTES),
        ("fetch", credits.FETCHED_BYTES, credits.FETCHED_BYTES),
    ],
)
def test_bytes_are_bounded_by_the_hour(clock, spend, at_once, per_hour):
    account, size = Account(), 1 << 14

    def spend_all():
        """Spend as long as it may; return how much that was."""
        spent = 0
        while not (account.wait_for_file(size) if spend == "store_file" else 0):
            if getattr(account, spend)(size):
                break
            spent += size
        return spent

    assert spend_all() == pytest.approx(at_once, abs=2 * size)
    assert spend_all() == 0
    clock.now += 3600 * at_once / per_hour
    assert spend_all() == pytest.approx(at_once, abs=3 * size)


@pytest.mark.parametrize(
    ("address", "network"),
    [
        (("192.0.2.1", 80), "192.0.2.1"),
        (("::ffff:192.0.2.1", 80, 0, 0), "192.0.2.1"),
        (("2001:db8:1:2:3:4:5:6", 80, 0, 0), "2001:db8:1:2::/64"),
        (("fe80::1%eth0", 80, 0, 2), "fe80::/64"),
        (("::1", 80, 0, 0), "::/64"),
        ("", ""),
        (None, ""),
    ],
)
def test_what_an_address_counts_as(address, network):
    assert network_of(address) == network


def test_an_address_keeps_its_account(monkeypatch):
    monkeypatch.setattr(credits, "MAX_ADDRESSES", 3)
    accounts = Accounts()
    account = accounts.of(("192.0.2.1", 1))
    assert accounts.of(("192.0.2.1", 2)) is account
    for number in range(100):
        accounts.of(("198.51.100.1", number))
        accounts.of((f"198.51.100.{number}", 1))
    assert len(accounts) <= 3 + 1, "those that came last, and the one that is held here"
    assert accounts.of(("192.0.2.1", 3)) is account, "as long as it is held"


@pytest.mark.parametrize("message", ["x", b"x", "x" * 65_000, b"x" * 65_000])
def test_the_price_of_a_message_follows_its_size(message):
    assert credits.MESSAGE_CREDITS < price(message) <= credits.MESSAGE_CREDITS + 64
    assert price(message * 2) > price(message)
