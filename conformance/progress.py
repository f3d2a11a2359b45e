"""The progress of a run, on a terminal or in a log."""

from __future__ import annotations

import os
import sys
import time

from conformance.harness import Run


class Progress:
    """A bar for each testee on a terminal; otherwise a line for each finished shard."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.live = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
        self.drawn = 0
        self.begun = time.monotonic()
        self.width = max(len(outcome.testee.name) for outcome in run.outcomes) + 2

    def execute(self) -> None:
        """Execute the run, and show its progress."""
        print()
        try:
            self.run.execute(self.say, self.tick)
        finally:
            self.clear()

    def say(self, text: str) -> None:
        self.clear()
        print(text, flush=True)

    def clear(self) -> None:
        if self.drawn:
            print(f"\x1b[{self.drawn}A\x1b[J", end="", flush=True)
            self.drawn = 0

    def tick(self, text: str) -> None:
        if not self.live:
            if text:
                print(f"{self._elapsed()}  {text}", flush=True)
            return
        lines = []
        for outcome in self.run.outcomes:
            total = len(outcome.cases)
            filled = 30 * outcome.done // total
            wrong = len(outcome.results) - outcome.passed
            lines.append(
                f"  {outcome.testee.name:<{self.width}}{'█' * filled}{'░' * (30 - filled)}"
                f"{outcome.done:>5} of {total}" + (f", {wrong} wrong" if wrong else "")
            )
        self.clear()
        print(*lines, self._elapsed(), sep="\n", flush=True)
        self.drawn = len(lines) + 1

    def _elapsed(self) -> str:
        return "{:>3}:{:02}".format(*divmod(int(time.monotonic() - self.begun), 60))
