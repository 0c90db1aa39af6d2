"""Files that come with the package: in the repository at its root, in a wheel beside the code."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).parent


def shipped(path: str) -> Path:
    """Find a file that comes with the package.

    Parameters
    ----------
    path
        Where the file is in the repository, such as ``workflow/schemas/config.schema.yaml``.

    Returns
    -------
    Path
        The repository's file where there is a repository, the wheel's copy of it otherwise.
    """
    in_repository = _PACKAGE.parents[1] / path
    return in_repository if in_repository.is_file() else _PACKAGE / "shipped" / path
