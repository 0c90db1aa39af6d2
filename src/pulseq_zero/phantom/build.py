"""From a config to a phantom."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pulseq_zero.errors import PhantomError
from pulseq_zero.phantom.deformation import deformed
from pulseq_zero.phantom.files import build_mat, build_nifti, build_npz
from pulseq_zero.phantom.icbm152 import build_icbm152
from pulseq_zero.phantom.lesions import with_lesions
from pulseq_zero.phantom.mr0_json import build_brainweb, build_mr0_json
from pulseq_zero.phantom.phantom import Phantom
from pulseq_zero.phantom.resample import resample
from pulseq_zero.phantom.settings import read_config, read_definition

# Relaxation times [s] beyond those of any tissue, water and gas included
_LONGEST = 20.0
# Length beyond that of anybody [m]
_LARGEST = 3.0

_BUILDERS: Mapping[str, Callable[[Mapping[str, Any]], Phantom]] = {
    "brainweb": build_brainweb,
    "mr0_json": build_mr0_json,
    "npz": build_npz,
    "mat": build_mat,
    "nifti": build_nifti,
}


def build_phantom(config: Mapping[str, Any]) -> Phantom:
    """Build the phantom that a config describes.

    Parameters
    ----------
    config
        The phantom section of the config; ``phantom/schema.yaml`` says what it may hold. An
        empty one gives the default brain.

    Raises
    ------
    ConfigError
        If the config cannot be meant.
    PhantomError
        If a file is missing, or its maps are misshapen or unphysical.

    Warns
    -----
    UserWarning
        If a map is possible, but hardly meant.
    """
    settings = read_config(config)
    phantom = _build(settings)
    if "scale" in settings:
        phantom = phantom.scaled(**settings["scale"])
    for doubt in _doubts(phantom):
        warnings.warn(f"phantom: {doubt}", stacklevel=2)
    return phantom


def _doubts(phantom: Phantom) -> Iterator[str]:
    """Say what of a phantom is possible, but hardly meant."""
    if max(phantom.extent) > _LARGEST:
        yield f"it measures {max(phantom.extent):g} m; is it in mm?"
    for tissue, pool in phantom.pools.items():
        present = pool.PD > 0
        finite = pool.T2.isfinite() & pool.T1.isfinite()
        for what, doubtful in {
            "T2 is longer than 2 T1, which no magnetisation has": finite & (pool.T2 > 2 * pool.T1),
            f"T1 is above {_LONGEST:g} s; is it in ms?": finite & (pool.T1 > _LONGEST),
            f"T2 is above {_LONGEST:g} s; is it in ms?": finite & (pool.T2 > _LONGEST),
            "B1 is zero, so that no pulse acts": (pool.B1 == 0).all(0),
        }.items():
            if (count := int((present & doubtful).sum())) > 0:
                yield f"of {tissue!r}, in {count} voxels, {what}"


def _build(settings: Mapping[str, Any]) -> Phantom:
    source = settings["source"]
    if source == "icbm152":
        definition = read_definition(settings["definition"])
        for tissue, values in settings.get("tissues", {}).items():
            definition["tissues"][tissue] |= {
                name: {"value": value, "source": "config"} for name, value in values.items()
            }
        return build_icbm152(settings, definition)
    try:
        phantom = _BUILDERS[source](settings)
    except PhantomError as error:
        name = settings.get("file", "phantom.maps")
        if name in str(error):
            raise
        raise PhantomError(f"{name}: {error}") from error
    if "deform" in settings:
        phantom = deformed(phantom, settings["deform"])
    if "lesions" in settings:
        phantom = with_lesions(phantom, settings["lesions"])
    if "matrix" in settings:
        return resample(phantom, (settings["matrix"][0], settings["matrix"][1]))
    return phantom
