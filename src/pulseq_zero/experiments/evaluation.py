"""The numbers that an experiment is judged by."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import suppress
from statistics import fmean
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pulseq_zero.conversion.repetitions import Repetitions
from pulseq_zero.errors import PhantomError, ValidationError
from pulseq_zero.experiments import kinds
from pulseq_zero.experiments.reconstruction import Images
from pulseq_zero.experiments.settings import Experiment
from pulseq_zero.experiments.stages import (
    OPTIMIZED,
    START,
    iteration_of,
    of_sequence,
    point_of,
    sequence_of,
)
from pulseq_zero.imaging.metrics import nrmse, ssim
from pulseq_zero.optimization.penalties import relative_sar
from pulseq_zero.phantom import Phantom

if TYPE_CHECKING:
    import pandas as pd


def evaluate(
    experiment: Experiment,
    phantom: Phantom,
    *,
    tight_images: Mapping[str, Tensor],
    start_images: Images,
    optimized_images: Images,
    imported_images: Images,
    point_spread_widths: Mapping[str, float | None],
    measured: Tensor | None,
    start: Mapping[str, Tensor],
    parameters: Mapping[str, Tensor],
    found: Mapping[str, Any],
    history: pd.DataFrame,
    minima: pd.DataFrame | None,
) -> dict[str, Any]:
    """Collect the numbers of one experiment.

    Parameters
    ----------
    experiment
        The experiment.
    phantom
        What was imaged.
    tight_images
        (..., x, y[, z]) images of all stages at the tight accuracy.
    start_images, optimized_images
        The same at the optimization's accuracy, by the names of the sequences.
    imported_images
        The same of the exported optimized files as MRzeroCore imports them, at the same accuracy.
    point_spread_widths
        Width of the point-spread function of each stage [m], None where it has none.
    measured
        (shots, ...) bool, which of the shots are measured, see `measured_shots`; None if unknown.
    start
        Start values of the parameters.
    parameters
        For each parameter its values (iterations + 1, ...).
    found
        ``best_iteration`` and ``seconds_per_iteration``.
    history
        The optimization's table.
    minima
        Where the loss of a brute-force scan is lowest, if there is one: as it is, and a row for
        each variant.
    """
    best = int(found["best_iteration"])
    stages = {stage: iteration_of(stage, best) for stage in tight_images}
    numbers: dict[str, Any] = {
        "title": experiment.title,
        "iterations": len(history) - 1,
        "best_iteration": best,
        "seconds_per_iteration": float(found["seconds_per_iteration"]),
        "loss": {
            "start": float(history["loss"].iloc[0]),
            "best": float(history["loss"][best]),
            "last": float(history["loss"].iloc[-1]),
            "best_verified": _number(history["verified_loss"][best]),
            "fell_in_last_quarter": fell_in_last_quarter(history["loss"]),
        },
        "parameters": {
            name: {
                "start": _shown(start[name]),
                "best": _shown(values[best]),
                "last": _shown(values[-1]),
            }
            for name, values in parameters.items()
        },
        "stages": {
            stage: {
                "iteration": stages[stage],
                **errors_to_start(
                    {"": image},
                    {"": tight_images[of_sequence(START, sequence_of(stage))]},
                    phantom,
                    experiment.image.axes,
                ),
                "point_spread_width_m": point_spread_widths[stage],
            }
            for stage, image in tight_images.items()
        },
    }
    tight = {name: tight_images[of_sequence(OPTIMIZED, name)] for name in optimized_images}
    optimized = joined(optimized_images)
    numbers["nrmse_to_start_in_optimization"] = nrmse(optimized.abs(), joined(start_images).abs())
    numbers["loose_to_tight_nrmse"] = nrmse(optimized.abs(), joined(tight).abs())
    numbers["export"] = {"imported_nrmse": nrmse(joined(imported_images), optimized)}
    flips = experiment.flip_angles
    if flips is not None:
        for stage, iteration in stages.items():
            angles = start[flips] if point_of(stage) == START else parameters[flips][iteration]
            numbers["stages"][stage] |= powers(angles, start[flips], measured)
    if minima is not None and experiment.scan is not None:
        name = experiment.scan.parameter
        own, *variants = minima.to_dict("records")
        numbers["scan"] = {
            "parameter": name,
            "optimum": own[name],
            "found": float(parameters[name][best]),
            "tolerance": experiment.scan.tolerance,
            "uncertainty": _number(own["uncertainty"]),
            "variants": {
                each["variant"]: {
                    "optimum": each[name],
                    "uncertainty": _number(each["uncertainty"]),
                }
                for each in variants
            },
        }
    closed_forms = kinds.of(experiment.figure).closed_forms(experiment, phantom)
    if closed_forms:
        numbers["closed_forms"] = closed_forms
    return numbers


def fell_in_last_quarter(loss: pd.Series) -> float | None:
    """Tell by which part of what is left a loss fell in the last quarter of iterations.

    What is far from zero has not converged. None if nothing is left.
    """
    lowest = loss.cummin().to_numpy()
    left = abs(float(lowest[-1]))
    return float(lowest[3 * len(lowest) // 4] - lowest[-1]) / left if left > 0 else None


# Whose errors are reported beside that of the whole image, where a phantom has them
REGIONS = ("brain", "csf")


def joined(images: Images) -> Tensor:
    """Put the pixels of the images of several sequences behind one another."""
    return torch.cat([image.flatten() for image in images.values()])


def mean_ssim(images: Images, reference: Images, axes: int) -> float:
    """Return the mean of the similarities of several images."""
    return fmean(ssim(image, reference[name], axes) for name, image in images.items())


def errors_to_start(
    images: Images, start: Images, phantom: Phantom, axes: int = 2
) -> dict[str, float]:
    """Compare (..., x, y[, z]) images with those of the start: as a whole, and in regions."""
    return {
        "nrmse_to_start": nrmse(joined(images).abs(), joined(start).abs()),
        "ssim_to_start": mean_ssim(images, start, axes),
        **region_errors(images, start, phantom),
    }


def region_errors(images: Images, target: Images, phantom: Phantom) -> dict[str, float]:
    """Compare magnitudes of (..., x, y[, z]) images in regions of a phantom, ``nrmse_REGION``."""
    errors = {}
    for region in REGIONS:

        def within(given: Images, region: str = region) -> Tensor:
            inside = {
                name: phantom.mask(region, image.shape[-len(phantom.matrix) :])
                for name, image in given.items()
            }
            return joined({name: image.abs()[..., inside[name]] for name, image in given.items()})

        # Small ones have no pixel of their own in coarse images
        with suppress(PhantomError):
            errors[f"nrmse_{region}"] = nrmse(within(images), within(target))
    return errors


def powers(angles: Tensor, start: Tensor, measured: Tensor | None) -> dict[str, float]:
    """Give the SAR relative to the start, of all shots and of those that are measured.

    Parameters
    ----------
    angles, start
        (shots, ...) flip angles, and those of the start [rad].
    measured
        (shots,) bool; None if unknown.
    """
    found = {"relative_sar": float(relative_sar(angles, start))}
    if measured is not None:
        of_measured = relative_sar(angles[measured], start[measured])
        found["relative_sar_measured"] = float(of_measured)
    return found


def measured_shots(repetitions: Repetitions, angles: Tensor) -> Tensor | None:
    """Tell which shots are measured, (shots,) bool.

    Parameters
    ----------
    repetitions
        The sequence.
    angles
        (shots, pulses) its flip angles; None is returned where these are not all of its pulses.
    """
    count = repetitions.event_count
    if angles.ndim != 2 or angles.numel() != len(count):
        return None
    sampled = torch.stack([part.any() for part in repetitions.is_sample.split(list(count))])
    return sampled.view(angles.shape).any(1)


def require_scans_agree(evaluations: Mapping[str, Mapping[str, Any]]) -> None:
    """Stop if an optimization has not found what the scan of the same loss found.

    Parameters
    ----------
    evaluations
        For each experiment, or run of a sweep, what `evaluate` gave.

    Raises
    ------
    ValidationError
        Naming the first whose deviation is above the ``tolerance`` of its scan.
    """
    for name, numbers in evaluations.items():
        scan = numbers.get("scan", {})
        tolerance = scan.get("tolerance")
        if tolerance is None:
            continue
        if not abs(scan["found"] - scan["optimum"]) <= tolerance * abs(scan["optimum"]):
            raise ValidationError(
                f"{name} found {scan['parameter']} = {scan['found']:.5g}, but the scan has its "
                f"minimum at {scan['optimum']:.5g}, more than {100 * tolerance:g} % away; give "
                "the optimizer more iterations"
            )


def _shown(values: Tensor) -> float | list[float]:
    """Return a scalar, or the range of an array."""
    if values.ndim == 0:
        return float(values)
    return [float(values.min()), float(values.max())]


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
