"""Paths that others have written, be they names of files or not."""

from __future__ import annotations

import os
from pathlib import Path

# The methods of Path fail where a name is too long


def is_file(path: Path | str) -> bool:
    """Tell whether there is such a file: of a name that no system takes there is none."""
    return os.path.isfile(path)  # noqa: PTH113


def exists(path: Path | str) -> bool:
    """Tell whether there is such a file or folder."""
    return os.path.exists(path)  # noqa: PTH110
