"""What an optimized sequence is worth on phantoms that it was not optimized on, and in noise."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from pulseq_zero.experiments.evaluation import joined, mean_ssim, powers, region_errors
from pulseq_zero.experiments.experiment import Values, make_loss
from pulseq_zero.experiments.models import Acquisitions, SequenceModels, StageSetup, setups_of
from pulseq_zero.experiments.reconstruction import one_or_all, shown_images
from pulseq_zero.experiments.settings import Experiment, NoiseSettings
from pulseq_zero.experiments.stages import ENDS
from pulseq_zero.imaging.metrics import nrmse
from pulseq_zero.imaging.noise import noise_deviation, noisy_acquisitions
from pulseq_zero.optimization.loss import LossFunction, loss_of
from pulseq_zero.phantom import Phantom


def robustness_table(
    experiment: Experiment,
    optimized: Values,
    phantoms: Mapping[str, Phantom],
    *,
    accuracy: float,
    optimization: Path | None = None,
    simulator: Mapping[str, Any] | None = None,
    noise: NoiseSettings | None = None,
) -> pd.DataFrame:
    """Compare start and optimized parameters of an experiment on several phantoms.

    Everything is relative to the start on the same phantom: the loss function is made anew
    for each, with the image of the start values there as its target, and the signal-to-noise ratio
    is that of this image.

    Receiver noise of one strength is added to the signals of both, which are reconstructed
    ``noise.count`` times. The target stays without noise.

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
    optimization
        File with the parameters of all iterations, which has the modules, if there are any.
    noise
        The noise, see `pulseq_zero.imaging.noise`; by default the defaults of its settings.

    Returns
    -------
    pandas.DataFrame
        A row a phantom. Without noise: ``loss_start``, ``loss_optimized``, ``gain`` (by how much
        the loss is lower), ``relative_sar`` (of experiments with flip angles), and ``nrmse`` and
        ``ssim`` of the magnitude image against that of the start, and ``nrmse_REGION`` in regions.
        With noise: ``noisy_gain``, the mean of the gain, ``noisy_gain_sd``, its standard deviation
        from one pair of scans to the next, each scan with noise of its own, and
        ``noisy_gain_sd_paired``, that with the same noise in both scans of a pair.
    """
    noise = noise or NoiseSettings()
    setups = setups_of(experiment)
    start = next(iter(setups.values())).start
    flips = experiment.flip_angles
    first = next(iter(phantoms.values()))
    traced = SequenceModels.of(setups, first, experiment.image, accuracy, simulator or {})
    begin, end = (StageSetup(experiment, stage, optimization) for stage in ENDS)
    rows = []
    for name, phantom in phantoms.items():
        model = traced.on(phantom)
        with torch.no_grad():
            at_start, at_end = (
                model(start, begin.reconstruction),
                model(optimized, end.reconstruction),
            )
            target, images = shown_images(at_start), shown_images(at_end)
        loss_before, loss_after = (
            make_loss(experiment.loss, stage.context(phantom, target, start))
            for stage in (begin, end)
        )
        before = loss_of(loss_before, start, one_or_all(at_start))
        after = loss_of(loss_after, optimized, one_or_all(at_end))
        row = {
            "phantom": name,
            "loss_start": before,
            "loss_optimized": after,
            "gain": before - after,
        }
        # The receiver's noise is that of all sequences
        of_first = next(iter(at_start.values()))
        _, (first_image, *_) = of_first.reconstructions
        region = phantom.mask(noise.region, first_image.matrix)
        deviation = noise_deviation(of_first, region, noise.snr)
        row |= _noisy_gain(
            _noisy_losses(loss_before, start, at_start, deviation, noise),
            _noisy_losses(loss_after, optimized, at_end, deviation, noise),
        )
        if flips is not None:
            row |= powers(optimized[flips], start[flips], None)
        row["nrmse"] = nrmse(joined(images).abs(), joined(target).abs())
        row["ssim"] = mean_ssim(images, target, experiment.image.axes)
        row |= region_errors(images, target, phantom)
        rows.append(row)
    return pd.DataFrame(rows)


def _noisy_losses(
    loss: LossFunction,
    values: Values,
    acquired: Acquisitions,
    deviation: float,
    noise: NoiseSettings,
) -> np.ndarray:
    """(realizations,) loss of a scan; realizations are the same for all scans."""
    # Of several sequences, each with noise of its own
    noisy = [
        noisy_acquisitions(each, deviation, count=noise.count, seed=noise.seed + number)
        for number, each in enumerate(acquired.values())
    ]
    return np.array(
        [
            loss_of(loss, values, one_or_all(dict(zip(acquired, each, strict=True))))
            for each in zip(*noisy, strict=True)
        ]
    )


def _noisy_gain(before: np.ndarray, after: np.ndarray) -> dict[str, float]:
    """Mean and spread of the gain.

    Parameters
    ----------
    before, after
        (realizations,) losses of start and optimized sequence with the same noise.
    """
    gain = before - after
    # Two scans have noise of their own, which adds up. That both losses were found with the same
    # realizations matters to their difference alone: its mean is more exact for it.
    apart = np.sqrt(before.var(ddof=1) + after.var(ddof=1))
    return {
        "noisy_gain": float(gain.mean()),
        "noisy_gain_sd": float(apart),
        "noisy_gain_sd_paired": float(gain.std(ddof=1)),
    }
