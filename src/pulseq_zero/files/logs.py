"""Logging of a pipeline step, and its last words when it fails."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pulseq_zero.errors import PulseqZeroError


class _LogFile(logging.FileHandler):
    """A log that a full disk cuts short: what the step itself says of the disk is enough."""

    def handleError(self, record: logging.LogRecord) -> None:
        pass

    def close(self) -> None:
        with suppress(OSError):
            super().close()


@contextmanager
def logged(path: Path | str) -> Iterator[None]:
    """Write the log of a block to a file; end the program with one sentence if it fails.

    Parameters
    ----------
    path
        The log file; its folder is made if it is missing.

    Raises
    ------
    SystemExit
        After a `PulseqZeroError`, whose message then stands in the log and on stderr.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handler = _LogFile(path, mode="w", encoding="utf-8")
    except OSError as error:
        print(f"StoreError: {path} cannot be written ({error.strerror})", file=sys.stderr)
        raise SystemExit(1) from None
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    package = logging.getLogger("pulseq_zero")
    package.addHandler(handler)
    level = package.level
    package.setLevel(logging.INFO)
    try:
        yield
    except PulseqZeroError as error:
        package.error("%s", error)
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    finally:
        package.setLevel(level)
        package.removeHandler(handler)
        handler.close()
