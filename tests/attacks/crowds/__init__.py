"""Crowds: many connections that attack together, and what others wait for meanwhile.

`table` has the crowds, each with the server that it attacks and the bounds to hold. `measure` runs
one: the server on one core; on another one the attackers (`floods`), and the honest clients
(`bystanders`). `report` prints the figures. `python -m tests.attacks.crowds` measures and writes
the table of docs/threats.md, or with `--peers` the page that compares other libraries.
"""
