"""Where in somebody's code something happened, and what to say about it."""

from __future__ import annotations

import sys
from pathlib import Path
from types import CodeType, FrameType
from typing import NamedTuple

import numpy as np

# The folder of tracing comes first
_PASSED_OVER = (
    str(Path(__file__).parents[1]),
    str(Path(np.__file__).parent),
    "<__array_function__",
)


class Place(NamedTuple):
    """A line of code: cheap to note, formatted only when it is shown."""

    code: CodeType
    line: int

    def __str__(self) -> str:
        return f"{self.code.co_filename}:{self.line} (in {self.code.co_name})"


def place() -> Place:
    """Return the line that is running now, outside of tracing and NumPy."""
    frame: FrameType = sys._getframe(1)
    while frame.f_code.co_filename.startswith(_PASSED_OVER) and frame.f_back is not None:
        frame = frame.f_back
    return Place(frame.f_code, frame.f_lineno)
