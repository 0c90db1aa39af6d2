"""Brute force over one parameter: where the loss has its minimum, and how sure that is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from tqdm import tqdm

from pulseq_zero.errors import ConfigError
from pulseq_zero.experiments.experiment import make_loss
from pulseq_zero.experiments.models import Acquisitions, SequenceModels, setups_of
from pulseq_zero.experiments.reconstruction import (
    Images,
    make_reconstruction,
    one_or_all,
    shown_images,
)
from pulseq_zero.experiments.settings import Experiment
from pulseq_zero.optimization.loss import LossFunction, Parameters, evaluate_loss, loss_of
from pulseq_zero.optimization.losses import LossContext
from pulseq_zero.phantom import Phantom

# Enough for 7 % of the standard deviation
_RESAMPLES = 100
# Values on either side of the minimum among which those of other pixels are looked for
_AROUND = 16


@dataclass(frozen=True)
class _NotingContext(LossContext):
    """What a loss is made of, and which regions it asks for."""

    regions: list[Tensor] = field(default_factory=list)

    def region(self, name: str, share: float = 0.9) -> Tensor:
        """Return pixels as `LossContext.region` does, and note them."""
        found = super().region(name, share)
        self.regions.append(found)
        return found


# What stands beside the parameter in the tables of a scan, and of its minima
_MINIMUM = ("loss", "uncertainty", "variant")


@dataclass(frozen=True)
class Scan:
    """The loss over one parameter.

    Attributes
    ----------
    table
        A row a value: the parameter, the terms of the loss, and ``loss``.
    optimum
        Where the loss is lowest, see `scan_optimum`.
    uncertainty
        Standard deviation of that over other choices of the pixels, see `optimum_uncertainty`; NaN
        for a loss that asks for no regions.
    """

    table: pd.DataFrame
    optimum: float
    uncertainty: float

    @property
    def minimum(self) -> dict[str, float]:
        """Where the loss is lowest, by the parameter's name, how sure that is, and the loss."""
        return {
            str(self.table.columns[0]): self.optimum,
            "uncertainty": self.uncertainty,
            "loss": float(self.table["loss"].min()),
        }

    @property
    def at_an_end(self) -> bool:
        """Whether the loss is lowest at an end of the range, so that it may be lower beyond."""
        return int(self.table["loss"].to_numpy().argmin()) in (0, len(self.table) - 1)


def scan(
    experiment: Experiment,
    phantom: Phantom,
    start: Images | None,
    *,
    accuracy: float,
    simulator: Mapping[str, Any],
) -> Scan:
    """Compute the loss at all values of an experiment's scan.

    Parameters
    ----------
    experiment
        The experiment, with a section ``scan``.
    phantom
        What is imaged.
    start
        (..., x, y[, z]) images at the start values by the names of the sequences, which are
        simulated if they are not given.
    accuracy, simulator
        Accuracy and further settings of the `Simulator`.

    Raises
    ------
    ConfigError
        If the parameter is none, or no scalar, or is called as another column of the table.
    """
    settings = experiment.scan
    if settings is None:
        raise ConfigError("the experiment has no section scan")
    setups = setups_of(experiment)
    at_start = next(iter(setups.values())).start
    models = SequenceModels.of(setups, phantom, experiment.image, accuracy, simulator)
    reconstruction = make_reconstruction(experiment.reconstruction)
    name = settings.parameter
    if name not in at_start or at_start[name].ndim > 0:
        raise ConfigError(f"scan: {name!r} is no scalar parameter of this experiment")
    _check_column(name, _MINIMUM)
    with torch.no_grad():
        if start is None:
            start = shown_images(models(at_start, reconstruction))
        context = _NotingContext(phantom, one_or_all(start), at_start)
        loss_function = make_loss(experiment.loss, context)
        values = torch.linspace(settings.first, settings.last, settings.count, dtype=torch.float64)
        parameters = [{**at_start, name: value} for value in values]
        acquisitions, rows = [], []
        for each in tqdm(parameters, unit="point"):
            acquisitions.append(models(each, reconstruction))
            found = evaluate_loss(loss_function, each, one_or_all(acquisitions[-1]))
            _check_column(name, found.terms)
            rows.append({name: float(each[name]), **found.numbers, "loss": float(found.total)})
    table = pd.DataFrame(rows)
    uncertainty = np.nan
    if context.regions:
        lowest = int(table["loss"].to_numpy().argmin())
        near = slice(max(0, lowest - _AROUND), lowest + _AROUND + 1)
        uncertainty = optimum_uncertainty(
            values[near],
            loss_function,
            parameters[near],
            acquisitions[near],
            context.regions,
        )
    return Scan(table, scan_optimum(table, name), uncertainty)


def scan_optimum(scan: pd.DataFrame, parameter: str) -> float:
    """Where the loss of a scan is lowest, refined by a parabola through three points.

    Parameters
    ----------
    scan
        Evenly spaced values of the parameter, and ``loss``.
    parameter
        Name of the column of the parameter.
    """
    return _lowest(scan[parameter].to_numpy(), scan["loss"].to_numpy())


def optimum_uncertainty(
    values: Tensor,
    loss_function: LossFunction,
    parameters: Sequence[Parameters],
    acquisitions: Sequence[Acquisitions],
    regions: Sequence[Tensor],
    seed: int = 0,
) -> float:
    """Give the standard deviation of a scan's optimum over the choice of pixels, by the bootstrap.

    The pixels of a region are a sample of its tissue. As often as `_RESAMPLES` says, each is
    replaced by one of the same regions, drawn with replacement (Efron, Ann Stat 7:1, 1979,
    doi:10.1214/aos/1176344552), the same in all images, and the optimum looked for again.

    Parameters
    ----------
    values
        (values,) evenly spaced values of the parameter.
    loss_function
        A loss that looks at pixels by themselves.
    parameters, acquisitions
        Of each value.
    regions
        (x, y[, z]) bool: the regions that the loss looks at.
    seed
        Of the draws.
    """
    generator = torch.Generator().manual_seed(seed)
    axes = regions[0].ndim
    membership = torch.stack(list(regions)).flatten(1)
    # Pixels in the same regions stand for each other
    patterns, pattern = torch.unique(membership, dim=1, return_inverse=True)
    groups = [(pattern == n).nonzero()[:, 0] for n in patterns.any(0).nonzero()[:, 0].tolist()]
    shown = [shown_images(acquired) for acquired in acquisitions]
    optima = []
    for _ in range(_RESAMPLES):
        source = torch.arange(membership.shape[1])
        for group in groups:
            source[group] = group[torch.randint(len(group), (len(group),), generator=generator)]
        losses = [
            loss_of(
                loss_function,
                values_there,
                one_or_all(
                    {
                        name: each.showing(
                            images[name].flatten(-axes)[..., source].view_as(images[name])
                        )
                        for name, each in acquired.items()
                    }
                ),
            )
            for values_there, acquired, images in zip(parameters, acquisitions, shown, strict=True)
        ]
        optima.append(_lowest(values.numpy(), np.array(losses)))
    return float(np.std(optima, ddof=1))


def _lowest(values: np.ndarray, losses: np.ndarray) -> float:
    lowest = int(np.argmin(losses))
    if lowest in (0, len(losses) - 1):
        return float(values[lowest])
    left, middle, right = losses[lowest - 1 : lowest + 2]
    shift = 0.5 * (left - right) / (left - 2 * middle + right)
    return float(values[lowest] + shift * (values[1] - values[0]))


def _check_column(name: str, others: Iterable[str]) -> None:
    """Refuse a parameter that is called as another column of its table."""
    if name in others:
        raise ConfigError(
            f"scan: the parameter is called {name!r}, as is another column of the scan's table; "
            "rename the argument of the sequence function, or the term of the loss"
        )
