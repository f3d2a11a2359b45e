"""Threads and sockets: who does what, and when."""
