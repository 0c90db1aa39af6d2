"""Lay out a new experiment."""

from __future__ import annotations

import keyword
import re
import sys
import sysconfig
import tokenize
from importlib.machinery import PathFinder
from pathlib import Path

from pulseq_zero.errors import ConfigError
from pulseq_zero.experiments.layout import check_names
from pulseq_zero.experiments.section import schema
from pulseq_zero.experiments.settings import Experiment
from pulseq_zero.files.store import atomic_path, save_json

_TEMPLATES = Path(__file__).parent / "templates"
# What the experiment of the templates is called
_TEMPLATE_NAME = "my_sequence"
_SEQUENCE = f"sequences/{_TEMPLATE_NAME}.py"
# Named one by one: an installer compiles Python files, and leaves folders of that beside them
_FILES = (
    f"config/experiments/{_TEMPLATE_NAME}.yaml",
    f"losses/{_TEMPLATE_NAME}_loss.py",
    _SEQUENCE,
)
# What editors complete and explain the keys of an experiment by
_SCHEMA = "config/experiment.schema.json"


def new_experiment(name: str, folder: Path) -> list[Path]:
    """Write sequence, loss and experiment file of a runnable experiment, and its schema.

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
        If the name cannot be a function's, or is that of other results or of a module, or one of
        the files exists; nothing is written then.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise ConfigError(
            f"{name!r} cannot name an experiment; use small letters, digits and underscores, a "
            "letter first"
        )
    check_names([name])
    if (use := _other_use(name)) is not None:
        raise ConfigError(
            f"{name!r} cannot name a sequence function, as it is {use}; choose another"
        )
    texts = {
        folder / file.replace(_TEMPLATE_NAME, name): (_TEMPLATES / file).read_text("utf-8")
        for file in _FILES
    }
    existing = [str(file) for file in texts if file.exists()]
    if existing:
        raise ConfigError(
            f"{existing[0]} exists and is not overwritten; choose another name or remove the file"
        )
    for file, text in texts.items():
        with atomic_path(file) as temporary:
            temporary.write_text(text.replace(_TEMPLATE_NAME, name), encoding="utf-8")
    # Always that of this version: nobody writes in it
    save_json(folder / _SCHEMA, schema(Experiment))
    return [*texts, folder / _SCHEMA]


def _other_use(name: str) -> str | None:
    """Say what else a name is to the script in the file of that name, None if nothing."""
    if keyword.iskeyword(name):
        return "a keyword of Python"
    with tokenize.open(_TEMPLATES / _SEQUENCE) as script:
        tokens = [*tokenize.generate_tokens(script.readline)]
    used = {token.string for token in tokens if token.type == tokenize.NAME}
    if name in used - {_TEMPLATE_NAME}:
        return "a name that its script uses"
    # Python looks for modules beside a script first, and so would those in the same folder
    installed = [sysconfig.get_path(kind) for kind in ("purelib", "platlib")]
    if name in sys.stdlib_module_names or PathFinder.find_spec(name, installed) is not None:
        return "a module that scripts may import"
    return None
