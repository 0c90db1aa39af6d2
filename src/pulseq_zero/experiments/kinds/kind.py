"""What a kind of experiment is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import pandas as pd
from matplotlib.figure import Figure
from torch import Tensor

from pulseq_zero.errors import ConfigError
from pulseq_zero.experiments.experiment import SequenceSetup
from pulseq_zero.experiments.settings import Experiment
from pulseq_zero.figures.style import with_unit
from pulseq_zero.figures.sweep import sweep_figure
from pulseq_zero.phantom import MAP_UNITS, Phantom

# What a figure may need beside images and history, see `RunResults`
SCAN, QUALITY, JUDGE, PHANTOM = "scan", "quality", "judge", "phantom"


@dataclass(frozen=True)
class RunResults:
    """What the figure of a run is drawn from.

    Attributes
    ----------
    start, optimized
        (x, y) images at the start and at the best iteration; several, and the slices of volumes,
        lie side by side.
    accuracy
        Accuracy of their simulation.
    fov
        Field of view in x and y [m].
    history
        A row an iteration: ``loss`` and its terms.
    parameters
        For each parameter its values (iterations + 1, ...).
    best
        The best iteration.
    scan, minima, quality, judge, phantom
        What the kind needs: the tables of scan and quality, that of the scan's minimum as it is and
        with something changed, the (x, y) images of the judge by their stages, with pulses that
        take their time, and the phantom.
    """

    start: Tensor
    optimized: Tensor
    accuracy: float
    fov: tuple[float, float]
    history: pd.DataFrame
    parameters: Mapping[str, Tensor]
    best: int
    scan: pd.DataFrame
    minima: pd.DataFrame
    quality: pd.DataFrame
    judge: Mapping[str, Tensor]
    phantom: Phantom | None


@dataclass(frozen=True)
class SweepResults:
    """What the figure of a sweep is drawn from.

    Attributes
    ----------
    settings
        The swept settings, each with its label.
    runs, compared
        The table of the sweep: its runs, and stages of other experiments.
    baselines
        The table of `pulseq_zero.experiments.baselines.baseline_table`, empty without any.
    images
        (x, y) images of all rows, by ``run``, and ``run stage`` for the others.
    start
        (x, y) image of the start values.
    accuracy
        Accuracy of their simulation.
    """

    settings: Mapping[str, str]
    runs: pd.DataFrame
    compared: pd.DataFrame
    baselines: pd.DataFrame
    images: Mapping[str, Tensor]
    start: Tensor
    accuracy: float


class Kind(ABC):
    """One kind of experiment; what it does not say otherwise is as for any experiment."""

    sections: ClassVar[tuple[str, ...]] = ("parameters",)
    """Sections of an experiment that it uses."""
    needs: ClassVar[tuple[str, ...]] = ()
    """What its figure needs beside images and history."""
    abstract: ClassVar[str | None] = None
    """The abstract's experiment that the first of this kind repeats."""
    sweep_caption: ClassVar[str] = ""
    """What the caption of a sweep's figure says beside the settings."""

    def check(self, experiment: Experiment, setup: SequenceSetup) -> None:  # noqa: B027
        """Check that an experiment can be of this kind.

        Raises
        ------
        ConfigError
            If it cannot, in one sentence.
        """

    @abstractmethod
    def draw(self, experiment: Experiment, results: RunResults) -> Figure:
        """Draw a run."""

    def draw_sweep(self, experiment: Experiment, results: SweepResults) -> Figure:
        """Draw a sweep."""
        rows = pd.concat([results.runs, results.compared])
        found = {
            name: with_unit(name, settings.unit)
            for name, settings in experiment.parameters.items()
            if name in rows
        }
        return sweep_figure(rows, results.settings, found)

    def closed_forms(self, experiment: Experiment, phantom: Phantom) -> dict[str, float]:
        """Give the numbers of closed forms that a run is reported beside."""
        return {}

    def summary(self, numbers: Mapping[str, Any]) -> dict[str, Any]:
        """Choose the numbers of a run that stand beside the abstract's.

        Parameters
        ----------
        numbers
            What `pulseq_zero.experiments.evaluation.evaluate` gave.
        """
        return {}


# Of settings that say what they are by themselves
_UNITS = {"slice_position": "m", "slice_thickness": "m", "fov": "m"}
_TISSUES = {"csf": "CSF", "gm": "grey matter", "wm": "white matter"}

T = TypeVar("T")


def tissue(region: str) -> str:
    """Name of a region as a figure has it."""
    return _TISSUES.get(region, region)


def setting_label(setting: str, experiment: Experiment) -> str:
    """Write a setting as an axis of a figure is labelled, with its unit if that is known.

    Parameters
    ----------
    setting
        Its dotted name, such as ``phantom.tissues.csf.T1``.
    experiment
        The experiment that has it.
    """
    *path, last = setting.split(".")
    name = last.replace("_", " ")
    if path[:2] == ["phantom", "tissues"] or path == ["phantom", "scale"]:
        of = f" of {path[2].upper() if path[2] == 'csf' else path[2]}" if len(path) > 2 else ""
        unit = MAP_UNITS.get(last) if of else "factor"
        return with_unit(f"{name}{of}", unit)
    if path[:1] == ["parameters"] and last in ("start", "begin", "lower", "upper"):
        return with_unit(f"{name} of {path[1]}", experiment.parameters[path[1]].unit)
    return with_unit(name, _UNITS.get(last))


def is_scanned(experiment: Experiment, setup: SequenceSetup) -> bool:
    """Tell whether one of the scalar parameters is scanned."""
    name = experiment.scan.parameter if experiment.scan else None
    return name in setup.start and setup.start[name].ndim == 0


def given(value: T | None) -> T:
    """Return what `Kind.check` and `Kind.needs` have made sure of."""
    if value is None:
        raise TypeError("a kind uses what it neither checks nor needs")
    return value


def require(condition: bool, kind: str, what: str) -> None:
    """Refuse an experiment that cannot be of a kind.

    Raises
    ------
    ConfigError
        If the condition does not hold.
    """
    if not condition:
        raise ConfigError(f"figure: {kind} needs {what}")


def require_flip_angles(
    experiment: Experiment, setup: SequenceSetup, kind: str, axes: Sequence[str]
) -> None:
    """Refuse an experiment without flip angles that have a value for each of these.

    Raises
    ------
    ConfigError
        If there are none, or if they have other axes.
    """
    name = experiment.flip_angles
    require(
        name is not None and setup.start[name].ndim == len(axes),
        kind,
        "a parameter flip_angles, or as the loss's setting flip_angles calls it, with a value for "
        f"each {' and each '.join(axes)}",
    )
