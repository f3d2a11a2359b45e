"""The server's lifecycle: the order of states, and when a shutdown takes which step."""

from __future__ import annotations

import contextlib
import threading
from types import SimpleNamespace

import pytest

from tests.support.tables import table
from tests.support.waiting import DEADLINE
from ws.lifecycle import CUT_SECONDS, Draining, Lifecycle, State

START = 1000.0
"""The time at which each test begins."""


class World(Draining):
    """A clock, the loop of a server, and its clients. Each step of a shutdown is noted."""

    def __init__(self):
        self.now = START
        self.due = None  # when the loop is to call the lifecycle
        self.clients = 0
        self.leave_when = ()  # the steps at which all clients leave
        self.steps = []
        self.lock = threading.RLock()
        self.error = None  # what release raises
        self.failing = []  # the steps that fail, each once
        self.lifecycle = Lifecycle(self)

    def start(self):
        self.lifecycle.begin()
        self.lifecycle.run(self)

    # The loop

    def schedule(self, source, deadline):
        assert source is self.lifecycle
        self.due = deadline

    def advance(self, seconds=0.0):
        """Let time pass, and keep the deadlines meanwhile."""
        until = self.now + seconds
        while self.due is not None and self.due <= until:
            self.now = max(self.now, self.due)
            self.due = None
            try:
                self.lifecycle.on_deadline(self.now)
            except MemoryError:
                self.lifecycle.on_fault()
        self.now = until

    # The steps

    def _note(self, step):
        self.steps.append(step)
        if step in self.failing:
            self.failing.remove(step)
            raise MemoryError
        if step in self.leave_when:
            self.clients = 0

    def refuse_newcomers(self):
        self._note("refuse")

    def is_empty(self):
        return not self.clients

    def say_goodbye(self):
        self._note("goodbye")

    def cut_everybody(self):
        self._note("cut")

    def release(self, timeout):
        self._note(f"release {timeout:.1f}")
        if self.error:
            raise self.error

    def locks(self):
        return [threading.RLock(), self.lock]


@pytest.fixture
def world(monkeypatch):
    world = World()
    clock = SimpleNamespace(monotonic=lambda: world.now)
    monkeypatch.setattr("ws.lifecycle.time", clock)
    return world


def test_from_new_to_stopped(world):
    life = world.lifecycle
    states = [life.state]
    life.begin()
    states.append(life.state)
    life.run(world)
    states.append(life.state)
    world.clients = 1
    assert not life.stopping
    life.stop(5)
    assert life.stopping
    assert life.state is State.RUNNING, "the leader takes the steps"
    world.advance()
    states.append(life.state)
    world.clients = 0
    life.check()
    world.advance()
    states.append(life.state)
    assert states == [State.NEW, State.STARTING, State.RUNNING, State.STOPPING, State.STOPPED]
    assert world.steps == ["refuse", "goodbye", "refuse", "release 5.0"]


def test_nothing_happens_unless_a_stop_is_asked_for(world):
    world.lifecycle.check()
    world.start()
    world.lifecycle.check()
    world.lifecycle.on_deadline(world.now)
    assert world.due is None
    assert (world.lifecycle.state, world.steps) == (State.RUNNING, [])


# Starting


def test_a_server_starts_once(world):
    world.start()
    with pytest.raises(RuntimeError, match="runs once"):
        world.lifecycle.begin()
    world.lifecycle.stop(0)
    world.advance()
    with pytest.raises(RuntimeError, match="runs once"):
        world.lifecycle.begin()


def test_a_start_that_fails_may_be_tried_again(world):
    world.lifecycle.begin()
    world.lifecycle.abort()
    assert (world.lifecycle.state, world.lifecycle.clean) == (State.NEW, True)
    world.start()
    assert world.lifecycle.state is State.RUNNING


def test_a_stop_before_the_start(world):
    world.lifecycle.stop(5)
    assert world.due is None
    assert (world.lifecycle.state, world.lifecycle.clean) == (State.NEW, True)
    with pytest.raises(RuntimeError, match="runs once"):
        world.lifecycle.begin()


def test_a_stop_while_it_starts_begins_as_soon_as_it_runs(world):
    world.lifecycle.begin()
    world.lifecycle.stop(5)
    assert world.due is None, "there is no loop yet"
    assert not world.lifecycle.clean
    world.lifecycle.run(world)
    world.advance()
    assert world.lifecycle.state is State.STOPPED


def test_a_stop_while_a_start_fails(world):
    world.lifecycle.begin()
    world.lifecycle.stop(5)
    world.lifecycle.abort()
    assert world.lifecycle.clean
    with pytest.raises(RuntimeError, match="runs once"):
        world.lifecycle.begin()


# Stopping


def test_with_nobody_there_it_ends_at_once(world):
    world.start()
    world.lifecycle.stop(5)
    world.advance()
    assert world.lifecycle.state is State.STOPPED
    assert world.lifecycle.clean
    assert world.steps == ["refuse", "release 5.0"]


def test_with_everybody_gone_by_the_goodbye_it_does_not_wait_for_an_event(world):
    world.clients, world.leave_when = 3, ("goodbye",)
    world.start()
    world.lifecycle.stop(5)
    world.advance()
    assert world.lifecycle.state is State.STOPPED


def test_whenever_somebody_has_left_it_looks_whether_that_was_the_last(world):
    world.clients = 2
    world.start()
    world.lifecycle.stop(5)
    for _ in range(2):
        world.advance(1)
        assert world.lifecycle.state is State.STOPPING
        world.clients -= 1
        world.lifecycle.check()
    world.advance()
    assert world.lifecycle.clean
    assert world.now == START + 2
    assert world.steps[-1] == "release 3.0"
    assert "cut" not in world.steps


def test_who_has_not_left_shortly_before_the_deadline_is_cut(world):
    world.clients, world.leave_when = 3, ("cut",)
    world.start()
    world.lifecycle.stop(5)
    world.advance(5 - CUT_SECONDS - 0.01)
    assert "cut" not in world.steps
    world.advance(0.02)
    assert world.steps[-2:] == ["refuse", "release 0.2"]
    assert world.lifecycle.state is State.STOPPED
    assert not world.lifecycle.clean, "somebody had to be cut"


def test_at_the_deadline_it_ends_whoever_is_there(world):
    world.clients = 1
    world.start()
    world.lifecycle.stop(5)
    world.advance(4.99)
    assert world.lifecycle.state is State.STOPPING
    world.advance(0.02)
    assert world.lifecycle.state is State.STOPPED
    assert not world.lifecycle.clean
    assert world.steps.count("cut") == 1


def test_cutting_is_not_put_off_by_those_who_leave(world):
    world.clients = 3
    world.start()
    world.lifecycle.stop(1)
    for _ in range(12):
        world.advance(0.1)
        world.lifecycle.check()
    world.advance()
    assert world.lifecycle.state is State.STOPPED


@table(
    "timeouts, seconds",
    ("no time", [0], 0),
    ("less than none", [-3], 0),
    ("the shorter one of two", [5, 2], 2),
    ("in any order", [2, 5], 2),
    ("an hour at most", [float("inf")], 3600),
)
def test_the_deadline(world, timeouts, seconds):
    world.clients = 1
    world.start()
    for timeout in timeouts:
        world.lifecycle.stop(timeout)
    world.advance(max(CUT_SECONDS, seconds) - 0.01)
    assert world.lifecycle.state is State.STOPPING
    world.advance(0.02)
    assert world.lifecycle.state is State.STOPPED


def test_a_shorter_deadline_counts_from_when_it_is_given(world):
    world.clients = 1
    world.start()
    world.lifecycle.stop(60)
    world.advance(10)
    world.lifecycle.stop(5)
    world.advance(4.99)
    assert world.lifecycle.state is State.STOPPING
    world.advance(0.02)
    assert world.lifecycle.state is State.STOPPED


def test_after_the_end_nothing_happens(world):
    world.start()
    world.lifecycle.stop(5)
    world.advance()
    steps = world.steps.copy()
    world.lifecycle.stop(5)
    world.lifecycle.check()
    world.lifecycle.on_deadline(world.now)  # it may, if it was due before
    assert world.due is None
    assert world.steps == steps


@pytest.mark.parametrize("error", [ValueError("a bug"), SystemExit(1)])
def test_a_release_that_raises_is_the_end_all_the_same(world, caplog, error):
    world.error = error
    world.start()
    world.lifecycle.stop(5)
    world.advance()
    assert world.lifecycle.state is State.STOPPED
    world.lifecycle.wait(DEADLINE)
    (record,) = caplog.records
    assert record.exc_info[1] is error


@pytest.mark.parametrize("step", ["refuse", "goodbye", "cut"])
def test_a_step_that_fails_does_not_end_the_shutdown(world, step):
    world.clients, world.failing = 1, [step]
    world.start()
    world.lifecycle.stop(5)
    world.advance(5.5)
    assert not world.failing
    assert world.lifecycle.state is State.STOPPED


# Waiting


def waits(world, timeout=DEADLINE):
    """Wait in a thread of its own, and return an event that is set when the wait has ended."""
    ended = threading.Event()

    def wait():
        world.lifecycle.wait(timeout)
        ended.set()

    threading.Thread(target=wait, daemon=True).start()
    return ended


def test_several_threads_wait_for_the_end(world):
    world.clients = 1
    world.start()
    waiting = [waits(world) for _ in range(3)]
    world.lifecycle.stop(5)
    world.advance()
    assert not any(ended.wait(0.02) for ended in waiting)
    world.clients = 0
    world.lifecycle.check()
    world.advance()
    assert all(ended.wait(DEADLINE) for ended in waiting)
    world.lifecycle.wait()  # and any time later


def test_a_wait_may_have_a_limit(world):
    world.start()
    world.lifecycle.wait(0)
    world.lifecycle.wait(0.01)
    assert world.lifecycle.state is State.RUNNING


@pytest.mark.parametrize("depth", [1, 2])
def test_whoever_has_interrupted_a_holder_of_a_lock_does_not_wait(world, depth):
    """A signal handler runs in the thread that it interrupts, which may hold a lock."""
    world.start()
    with contextlib.ExitStack() as stack:
        for _ in range(depth):
            stack.enter_context(world.lock)
        world.lifecycle.stop(5)
        world.lifecycle.wait()
    assert world.lifecycle.state is State.RUNNING
    world.advance()
    assert world.lifecycle.state is State.STOPPED


def test_a_lock_of_another_thread_is_no_reason_not_to_wait(world):
    world.start()
    with world.lock:
        ended = waits(world)
        assert not ended.wait(0.02)
        world.lifecycle.stop(0)
        world.advance()
        assert ended.wait(DEADLINE)


@pytest.mark.parametrize("started", [False, True])
def test_in_a_forked_child_nothing_runs_and_starting_says_why(started):
    world = World()
    if started:
        world.start()
    world.lifecycle.orphan()
    assert not world.lifecycle.active
    world.lifecycle.wait()  # for nothing
    with pytest.raises(RuntimeError, match="forked"):
        world.lifecycle.begin()
