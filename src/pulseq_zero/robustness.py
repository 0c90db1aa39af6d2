"""What an optimized sequence is worth on phantoms that it was not optimized on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from pulseq_zero.evaluation import flip_angles_of
from pulseq_zero.experiment import Values, make_loss, sequence_setup
from pulseq_zero.limits import relative_sar
from pulseq_zero.losses import LossContext, LossFunction
from pulseq_zero.metrics import nrmse, ssim
from pulseq_zero.phantom import Phantom


def robustness_table(
    experiment: Mapping[str, Any],
    optimized: Values,
    phantoms: Mapping[str, Phantom],
    *,
    accuracy: float,
    simulation: Mapping[str, Any] | None = None,
) -> pd.DataFrame:
    """Compare start and optimized parameters of an experiment on several phantoms.

    Everything is relative to the start on the same phantom: the loss function is made anew
    for each, with the image of the start values there as its target.

    Parameters
    ----------
    experiment
        Content of its file.
    optimized
        The optimized parameters.
    phantoms
        By name, what the sequence is simulated on.
    accuracy, simulation
        Settings of the simulation.

    Returns
    -------
    pandas.DataFrame
        A row a phantom: ``loss_start``, ``loss_optimized``, ``gain`` (by how much the loss is
        lower), ``relative_sar`` (of experiments with flip angles), and ``nrmse`` and ``ssim`` of
        the magnitude image against that of the start.
    """
    setup = sequence_setup(experiment)
    flips = flip_angles_of(experiment)
    rows = []
    for name, phantom in phantoms.items():
        model = setup.imaging_model(phantom, accuracy, simulation or {})
        with torch.no_grad():
            before, after = model(setup.start).image, model(optimized).image
        loss = make_loss(experiment["loss"], LossContext(phantom, before, setup.start))
        at_start, at_end = _total(loss, setup.start, before), _total(loss, optimized, after)
        row = {
            "phantom": name,
            "loss_start": at_start,
            "loss_optimized": at_end,
            "gain": at_start - at_end,
        }
        if flips is not None:
            row["relative_sar"] = float(relative_sar(optimized[flips], setup.start[flips]))
        rows.append({**row, "nrmse": nrmse(after.abs(), before.abs()), "ssim": ssim(after, before)})
    return pd.DataFrame(rows)


def _total(loss: LossFunction, values: Values, image: Tensor) -> float:
    given = loss(values, image)
    terms = given.values() if isinstance(given, Mapping) else [given]
    return sum(float(term) for term in terms)
