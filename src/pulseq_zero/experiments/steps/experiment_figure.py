"""Draw the images, the parameters and the losses of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from pulseq_zero.closed_forms import ernst_contrast
from pulseq_zero.experiments.evaluation import analytic_null
from pulseq_zero.experiments.settings import Experiment
from pulseq_zero.experiments.stages import ENDS, OPTIMIZED, START
from pulseq_zero.figures.ernst_angle import ernst_angle_figure
from pulseq_zero.figures.flip_angle_train import flip_angle_train_figure
from pulseq_zero.figures.flip_angles import flip_angles_figure
from pulseq_zero.figures.history import history_figure
from pulseq_zero.figures.inversion_time import inversion_time_figure
from pulseq_zero.figures.slice_profile import slice_profile_figure
from pulseq_zero.figures.style import save_figure
from pulseq_zero.phantom import Phantom
from pulseq_zero.store import load_table, load_tensors

SECTIONS = ("sequence", "parameters", "loss", "figure")


def run(
    experiment: Experiment,
    start: Path,
    optimized: Path,
    parameters: Path,
    history: Path,
    png: Path,
    pdf: Path,
    phantom: Path | None = None,
    scan: Path | None = None,
    quality: Path | None = None,
    start_judge: Path | None = None,
    optimized_judge: Path | None = None,
) -> None:
    """Draw a run as its experiment asks for.

    Parameters
    ----------
    experiment
        The experiment.
    start, optimized
        The images of these stages.
    parameters, history
        What the optimization left.
    png, pdf
        The figure.
    phantom, scan, quality, start_judge, optimized_judge
        What else some kinds of figures need.
    """
    files = {
        "start": start,
        "optimized": optimized,
        "parameters": parameters,
        "history": history,
        "phantom": phantom,
        "scan": scan,
        "quality": quality,
        "start_judge": start_judge,
        "optimized_judge": optimized_judge,
    }
    save_figure(_draw(experiment, files), png, pdf)


def _draw(experiment: Experiment, files: dict[str, Any]) -> Figure:
    start, metadata = load_tensors(files["start"])
    optimized, other_metadata = load_tensors(files["optimized"])
    parameters, found = load_tensors(files["parameters"])
    history = load_table(files["history"])
    images = (start["image"], optimized["image"])
    accuracy = max(metadata["accuracy"], other_metadata["accuracy"])
    kind = experiment.figure
    if kind == "inversion_time":
        null = analytic_null(Phantom.load(files["phantom"]))
        scan = load_table(files["scan"])
        return inversion_time_figure(
            *images, history, parameters["TI"], found["best_iteration"], scan, null, accuracy
        )
    if kind == "flip_angles":
        quality = load_table(files["quality"])
        flip_angles = parameters["flip_angles"]
        return flip_angles_figure(
            *images, history, flip_angles, quality, found["best_iteration"], accuracy
        )
    if kind == "flip_angle_train":
        flip_angles = parameters["flip_angles"]
        return flip_angle_train_figure(
            *images, history, flip_angles, found["best_iteration"], accuracy
        )
    if kind == "ernst_angle":
        settings = experiment.loss.settings
        contrast = ernst_contrast(
            Phantom.load(files["phantom"]),
            settings["bright"],
            settings["dark"],
            matrix=(start["image"].shape[0], start["image"].shape[1]),
            **{name: experiment.sequence.arguments[name] for name in ("TR", "TE")},
        )
        scan = load_table(files["scan"])
        flip_angle = parameters["flip_angle"]
        return ernst_angle_figure(
            *images, history, flip_angle, found["best_iteration"], scan, contrast, accuracy
        )
    if kind == "slice_profile":
        best = found["best_iteration"]
        samples = parameters["samples"]
        limit = experiment.parameters["samples"].upper or float(samples.abs().max())
        return slice_profile_figure(
            dict(zip(ENDS, images, strict=True)),
            {stage: load_tensors(files[f"{stage}_judge"])[0]["image"] for stage in ENDS},
            {START: samples[0], OPTIMIZED: samples[best]},
            limit,
            metadata["fov"][1],
            history,
        )
    units = {name: settings.unit for name, settings in experiment.parameters.items()}
    return history_figure(*images, history, parameters, units, accuracy)
