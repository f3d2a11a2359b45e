"""Crowds: many connections that attack together, and what others wait for meanwhile.

`table` has the crowds, each with the server that it attacks and the bounds to hold. `measure` runs
one: the server has a core for itself, and another one is for the attackers (`floods`) and the
honest clients (`tests.attacks.honest_clients`). `python -m tests.attacks.crowds` prints the
figures, writes them into docs/threats.md (`--write-table`), or compares other libraries
(`--peers`).
"""
