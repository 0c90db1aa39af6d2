"""Compute the loss over one parameter by brute force, as it is and with something changed."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from pulseq_zero.errors import ConfigError
from pulseq_zero.experiments import scanning
from pulseq_zero.experiments.layout import RunFiles
from pulseq_zero.experiments.models import stored_images
from pulseq_zero.experiments.settings import Experiment, only_sections
from pulseq_zero.experiments.stages import START, TIGHT
from pulseq_zero.files.store import save_table
from pulseq_zero.phantom import Phantom, build_phantom

SECTIONS = ("sequence", "sequences", "parameters", "image", "reconstruction", "loss", "scan")

AS_IT_IS = "as it is"


def run(
    experiment: Experiment,
    variants: Mapping[str, Mapping[str, Any]],
    accuracy: float,
    simulator: Mapping[str, Any],
    phantom: Path,
    start: RunFiles,
    scan: Path,
    minima: Path,
) -> None:
    """Compute the loss at all values of a scan, and at those of its variants.

    Parameters
    ----------
    experiment
        The experiment.
    variants
        By their names, ``experiment``, its sections as `with_sections` wrote them, and the settings
        of its ``phantom``, None where that is the experiment's own.
    accuracy, simulator
        Accuracy and further settings of the `Simulator`.
    phantom, start
        What is imaged, and the files of the run that has the images at the start values.
    scan
        A row a value: the parameter, the terms of the loss, and ``loss``.
    minima
        A row for the loss as it is, and for each variant: ``variant``, the parameter where the loss
        is lowest, its ``uncertainty``, and the ``loss`` there.

    Raises
    ------
    ConfigError
        If the parameter is none, or no scalar, or a variant's minimum lies at the end of its range.
    """
    imaged = Phantom.load(phantom)
    scanned = partial(scanning.scan, accuracy=accuracy, simulator=simulator)
    whole = scanned(experiment, imaged, stored_images(experiment, start, START, TIGHT))
    save_table(scan, whole.table)
    rows = [{"variant": AS_IT_IS, **whole.minimum}]
    for name, variant in variants.items():
        changed = only_sections(variant["experiment"])
        own = imaged if variant["phantom"] is None else build_phantom(variant["phantom"])
        found = scanned(changed, own, None)
        if found.at_an_end:
            raise ConfigError(
                f"scan.variants: the loss of {name!r} is lowest at an end of the range, "
                f"{found.optimum:g}; widen first and last"
            )
        rows.append({"variant": name, **found.minimum})
    save_table(minima, pd.DataFrame(rows))
