"""How an input is refused."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from pulseq_zero.errors import PulseqZeroError

# Tests move, and so do the lines that they stand in
_LINE = re.compile(r"\((?:\S*/)?(\w+\.py), line \d+\)")


def check(act: Callable[[], object], message: str) -> None:
    """Assert that an action is refused with exactly this message, of one line."""
    with pytest.raises(PulseqZeroError) as caught:
        act()
    said = str(caught.value).replace(f"{Path.cwd()}/", "")
    said = _LINE.sub(r"(\1, line N)", said)
    assert said == message, said
    assert "\n" not in message
