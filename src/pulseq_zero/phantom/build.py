"""From a config to a phantom."""

from __future__ import annotations

from collections.abc import Callable, Mapping
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
    """
    settings = read_config(config)
    phantom = _build(settings)
    return phantom.scaled(**settings["scale"]) if "scale" in settings else phantom


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
