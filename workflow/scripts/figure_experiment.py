"""Draw the images, the parameters and the losses of an experiment."""

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from pulseq_zero.closed_forms import ernst_contrast
from pulseq_zero.evaluation import analytic_null
from pulseq_zero.figures.ernst_angle import ernst_angle_figure
from pulseq_zero.figures.flip_angle_train import flip_angle_train_figure
from pulseq_zero.figures.flip_angles import flip_angles_figure
from pulseq_zero.figures.history import history_figure
from pulseq_zero.figures.inversion_time import inversion_time_figure
from pulseq_zero.figures.slice_profile import slice_profile_figure
from pulseq_zero.figures.style import save_figure
from pulseq_zero.logs import logged
from pulseq_zero.phantom import Phantom
from pulseq_zero.store import load_table, load_tensors

STAGES = ("start", "optimized")


def main(experiment: dict[str, Any], files: dict[str, Path], *figures: Path) -> None:
    save_figure(draw(experiment, files), *figures)


def draw(experiment: dict[str, Any], files: dict[str, Path]) -> Figure:
    start, metadata = load_tensors(files["start"])
    optimized, other_metadata = load_tensors(files["optimized"])
    parameters, found = load_tensors(files["parameters"])
    history = load_table(files["history"])
    images = (start["image"], optimized["image"])
    accuracy = max(metadata["accuracy"], other_metadata["accuracy"])
    kind = experiment.get("figure", "history")
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
        settings = experiment["loss"]["settings"]
        contrast = ernst_contrast(
            Phantom.load(files["phantom"]),
            settings["bright"],
            settings["dark"],
            matrix=tuple(start["image"].shape),
            **{name: experiment["sequence"]["arguments"][name] for name in ("TR", "TE")},
        )
        scan = load_table(files["scan"])
        flip_angle = parameters["flip_angle"]
        return ernst_angle_figure(
            *images, history, flip_angle, found["best_iteration"], scan, contrast, accuracy
        )
    if kind == "slice_profile":
        best = found["best_iteration"]
        samples = parameters["samples"]
        return slice_profile_figure(
            dict(zip(STAGES, images, strict=True)),
            {stage: load_tensors(files[f"{stage}_judge"])[0]["image"] for stage in STAGES},
            {"start": samples[0], "optimized": samples[best]},
            experiment["parameters"]["samples"]["upper"],
            metadata["fov"][1],
            history,
        )
    units = {name: s.get("unit", "") for name, s in experiment["parameters"].items()}
    return history_figure(*images, history, parameters, units, accuracy)


if "snakemake" in globals():
    with logged(snakemake.log[0]):
        main(
            snakemake.params.experiment,
            {name: Path(file) for name, file in snakemake.input.items() if name != "code"},
            Path(snakemake.output.png),
            Path(snakemake.output.pdf),
        )
