"""Numbers too small for all bits of a float32: processors compute with them a hundred times slower.

They arise where magnetisation decays, and where powers of weak states are multiplied.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

_SMALL = np.float32(1e-30)


@contextmanager
def denormals_flushed() -> Iterator[None]:
    """Let numbers below 1.2e-38 be zero in this thread, and in those that it starts meanwhile.

    Where the processor cannot, nothing happens.
    """
    before = _SMALL * np.float32(1e-10) == 0
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(bool(before))
