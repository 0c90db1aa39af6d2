"""What takes too long is stopped."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

LONGEST = 10.0
"""What an input may take, whatever it is [s]."""


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Fail when what is done meanwhile has computed for so many seconds [s].

    Time in which the machine does something else does not count.
    """

    def stop(*_: Any) -> NoReturn:
        raise TimeoutError(f"it has computed for {seconds} s")

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
