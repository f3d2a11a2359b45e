"""Ctrl-C and SIGTERM end a program that serves, or that is a client."""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from typing import Any, Callable, Iterator


@contextmanager
def interruptible(shutdown: Callable[[], Any]) -> Iterator[None]:
    """Call *shutdown* if Ctrl-C or SIGTERM comes meanwhile.

    That is so only in the main thread, and only for signals for which the program hasn't installed
    a handler of its own.
    """
    main = threading.current_thread() is threading.main_thread()
    terminate = main and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    if terminate:
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    except KeyboardInterrupt:
        shutdown()
    finally:
        if terminate:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
