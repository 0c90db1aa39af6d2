"""A phantom from one file, whatever its format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pulseq_zero.errors import PhantomError
from pulseq_zero.files.yaml import read_yaml
from pulseq_zero.phantom.build import build_phantom
from pulseq_zero.phantom.phantom import Phantom

_SOURCES = {".json": "mr0_json", ".npz": "npz", ".mat": "mat"}


def read_phantom(path: Path | str) -> Phantom:
    """Read a phantom.

    Parameters
    ----------
    path
        MRzeroCore's phantom JSON, ``.npz`` or ``.mat`` maps, a ``.safetensors`` file that
        `Phantom.save` wrote, or a YAML file with the settings of `build_phantom`: by themselves,
        or as section ``phantom`` of a config.

    Raises
    ------
    ConfigError
        If settings cannot be meant.
    PhantomError
        If the file is of none of these kinds, is missing, or its maps are misshapen or unphysical.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix == ".safetensors":
        return Phantom.load(path)
    if suffix in _SOURCES:
        return build_phantom({"source": _SOURCES[suffix], "file": str(path)})
    if suffix not in (".yaml", ".yml"):
        raise PhantomError(
            f"{path} is none of .json, .npz, .mat, .safetensors and .yaml; name NIfTI maps in a "
            "YAML file, as phantoms/README.md has it"
        )
    settings: dict[str, Any] = read_yaml(path)
    return build_phantom(settings.get("phantom", settings))
