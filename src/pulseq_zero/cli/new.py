"""Lay out a new experiment."""

from __future__ import annotations

import re
from pathlib import Path

from pulseq_zero.errors import ConfigError
from pulseq_zero.files.store import atomic_path

_TEMPLATES = Path(__file__).parent / "templates"
# What the experiment of the templates is called
_TEMPLATE_NAME = "my_sequence"


def new_experiment(name: str, folder: Path) -> list[Path]:
    """Write sequence, loss and experiment file of a runnable experiment.

    Parameters
    ----------
    name
        Name of the experiment and of its sequence function.
    folder
        Where to write them.

    Returns
    -------
    list
        The files.

    Raises
    ------
    ConfigError
        If the name cannot be a function's, or one of the files exists; nothing is written then.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise ConfigError(
            f"{name!r} cannot name an experiment; use small letters, digits and underscores, a "
            "letter first"
        )
    templates = sorted(path for path in _TEMPLATES.rglob(f"{_TEMPLATE_NAME}*") if path.is_file())
    files = [
        folder
        / template.relative_to(_TEMPLATES).with_name(template.name.replace(_TEMPLATE_NAME, name))
        for template in templates
    ]
    existing = [str(file) for file in files if file.exists()]
    if existing:
        raise ConfigError(
            f"{existing[0]} exists and is not overwritten; choose another name or remove the file"
        )
    for template, file in zip(templates, files, strict=True):
        text = template.read_text(encoding="utf-8").replace(_TEMPLATE_NAME, name)
        with atomic_path(file) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return files
