"""The benchmark: our server beside others, in one run, on one machine."""

from pathlib import Path

ROOT = Path(__file__).parent.parent
