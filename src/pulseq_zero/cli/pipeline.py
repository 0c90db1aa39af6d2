"""Lay out the Snakemake pipeline."""

from __future__ import annotations

import shutil
from importlib.metadata import version
from pathlib import Path

from pulseq_zero.errors import ConfigError

_PACKAGE = Path(__file__).parents[1]
# What the pipeline consists of
_PARTS = ("Snakefile", "config", "losses", "phantoms", "sequences", "workflow")
# Where Snakemake looks for profiles; in the repository, a link to those of the workflow
_PROFILES = "profiles"
# Beside the environments, what installs the library into them
_DEPLOY = "workflow/envs/pulseq_zero.post-deploy.sh"


def lay_out_pipeline(folder: Path) -> list[Path]:
    """Write the pipeline, with its experiments, as files to make one's own of.

    Parameters
    ----------
    folder
        Where to write it; made if it does not exist.

    Returns
    -------
    list
        What was written, by its folders.

    Raises
    ------
    ConfigError
        If something that would be written exists; nothing is written then.
    """
    parts = {part: folder / part for part in (*_PARTS, _PROFILES)}
    existing = [str(path) for path in parts.values() if path.exists()]
    if existing:
        raise ConfigError(
            f"{existing[0]} exists and is not overwritten; name another folder for the pipeline"
        )
    folder.mkdir(parents=True, exist_ok=True)
    for part in _PARTS:
        _copy(_source(part), parts[part])
    _copy(_source("workflow") / _PROFILES, parts[_PROFILES])
    deploy = folder / _DEPLOY
    installing = deploy.read_text("utf-8").replace(
        "--editable .", f"pulseq-zero=={version('pulseq-zero')}"
    )
    deploy.write_text(installing, "utf-8")
    return list(parts.values())


def _source(part: str) -> Path:
    """Find a part: in the installed package, or in the repository that it is installed from."""
    places = (_PACKAGE / "pipeline" / part, _PACKAGE / part, _PACKAGE.parents[1] / part)
    return next(place for place in places if place.exists())


def _copy(source: Path, target: Path) -> None:
    if source.is_file():
        shutil.copyfile(source, target)
    else:
        # An installer leaves what it compiles beside the files
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
