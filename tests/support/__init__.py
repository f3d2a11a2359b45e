"""What tests and tools share."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
"""The repository's folder; programs that tests start run in it, so that imports find it."""
