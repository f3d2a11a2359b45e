"""A configuration of gunicorn that tells the application how many connections a worker counts."""

from __future__ import annotations

from tests.wsgi.apps import worker


def post_worker_init(ours):
    """Called by gunicorn in each worker."""
    worker.counts = lambda: getattr(ours, "nr_conns", 0)
