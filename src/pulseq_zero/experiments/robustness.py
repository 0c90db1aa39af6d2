"""What an optimized sequence is worth on phantoms that it was not optimized on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
import torch

from pulseq_zero.experiments.experiment import Values, make_loss, sequence_setup
from pulseq_zero.experiments.settings import Experiment
from pulseq_zero.imaging.metrics import nrmse, ssim
from pulseq_zero.optimization.losses import LossContext, loss_of
from pulseq_zero.optimization.penalties import relative_sar
from pulseq_zero.phantom import Phantom


def robustness_table(
    experiment: Experiment,
    optimized: Values,
    phantoms: Mapping[str, Phantom],
    *,
    accuracy: float,
    simulator: Mapping[str, Any] | None = None,
) -> pd.DataFrame:
    """Compare start and optimized parameters of an experiment on several phantoms.

    Everything is relative to the start on the same phantom: the loss function is made anew
    for each, with the image of the start values there as its target.

    Parameters
    ----------
    experiment
        The experiment.
    optimized
        The optimized parameters.
    phantoms
        By name, what the sequence is simulated on.
    accuracy, simulator
        Settings of the simulation.

    Returns
    -------
    pandas.DataFrame
        A row a phantom: ``loss_start``, ``loss_optimized``, ``gain`` (by how much the loss is
        lower), ``relative_sar`` (of experiments with flip angles), and ``nrmse`` and ``ssim`` of
        the magnitude image against that of the start.
    """
    setup = sequence_setup(experiment.sequence, experiment.parameters)
    flips = experiment.flip_angles
    rows = []
    for name, phantom in phantoms.items():
        model = setup.imaging_model(phantom, experiment.image, accuracy, simulator or {})
        with torch.no_grad():
            before, after = model(setup.start).image, model(optimized).image
        loss = make_loss(experiment.loss, LossContext(phantom, before, setup.start))
        at_start, at_end = loss_of(loss, setup.start, before), loss_of(loss, optimized, after)
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
