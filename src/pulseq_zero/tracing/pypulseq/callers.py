"""Lines of scripts, for the warnings and traces that PyPulseq's functions address to their caller.

Between a script and PyPulseq's functions lie some of tracing's own; they are passed over here.
"""

from __future__ import annotations

import sys
import traceback
import warnings
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

from pypulseq.utils import tracing as pypulseq_trace

# The folder of tracing
_OWN = str(Path(__file__).parents[1])


def caller(frame: FrameType) -> FrameType:
    """Go back to the frame that called tracing's own functions."""
    return _go_back(frame, 1)[0]


def _go_back(frame: FrameType, count: int) -> tuple[FrameType, int]:
    """Go back by a number of frames that are not tracing's own; count the others too."""
    steps = 0
    while count > 0 and frame.f_back is not None:
        frame, steps = frame.f_back, steps + 1
        count -= not frame.f_code.co_filename.startswith(_OWN)
    return frame, steps


def warn(
    message: Any,
    category: type[Warning] | None = None,
    stacklevel: int = 1,
    source: Any = None,
    **options: Any,
) -> None:
    """``warnings.warn`` for PyPulseq's functions."""
    _, steps = _go_back(sys._getframe(1), stacklevel - 1)
    warnings.warn(message, category, steps + 2, source, **options)


def trace() -> traceback.StackSummary:
    """``pypulseq.utils.tracing.trace``: where an event or a block is made."""
    frame = caller(sys._getframe(1))
    return traceback.extract_stack(frame, limit=pypulseq_trace._trace_limit)


def _warnings_of_pypulseq() -> ModuleType:
    module = ModuleType(warnings.__name__, warnings.__doc__)
    vars(module).update(vars(warnings), warn=warn)
    return module


# What stands in for what in PyPulseq's functions, by the id of the original.
REPLACEMENTS: dict[int, Any] = {
    id(warnings): _warnings_of_pypulseq(),
    id(warnings.warn): warn,
    id(pypulseq_trace.trace): trace,
}
