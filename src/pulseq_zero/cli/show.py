"""Draw the results of an experiment."""

from __future__ import annotations

from pathlib import Path

from pulseq_zero.conversion.repetitions import Repetitions
from pulseq_zero.experiments.experiment import load_found
from pulseq_zero.experiments.layout import RunFiles
from pulseq_zero.experiments.stages import ENDS, OPTIMIZED, START, of_sequence, point_of
from pulseq_zero.figures.history import history_figure
from pulseq_zero.figures.sequence import kspace_figure, pulse_diagram
from pulseq_zero.figures.style import save_figure
from pulseq_zero.files.seq import read_seq
from pulseq_zero.files.store import load_table, load_tensors
from pulseq_zero.files.yaml import read_yaml
from pulseq_zero.imaging.pictures import beside, side_by_side


def draw(files: RunFiles) -> list[Path]:
    """Draw images and history, the pulse diagrams, and k-space.

    Parameters
    ----------
    files
        Results, by the command line or by the pipeline.

    Returns
    -------
    list
        The figures.

    Raises
    ------
    StoreError
        If a result is missing.
    """
    stages = found_stages(files)
    images = {stage: load_tensors(files.image(stage)) for stage in stages}
    pictures = {
        end: beside(
            [
                side_by_side(tensors["image"], len(metadata["fov"]))
                for stage, (tensors, metadata) in images.items()
                if point_of(stage) == end
            ]
        )
        for end in ENDS
    }
    parameters, _ = load_found(files.parameters)
    settings = read_yaml(files.experiment)["parameters"] if files.experiment.is_file() else {}
    units = {name: settings.get(name, {}).get("unit", "") for name in parameters}
    figures = {
        "optimization": history_figure(
            pictures[START],
            pictures[OPTIMIZED],
            load_table(files.history, ("iteration", "loss", "verified_loss")),
            parameters,
            units,
            max(metadata["accuracy"] for _, metadata in images.values()),
        ),
    }
    for stage in stages:
        title, name = f"{files.name}, {stage}", stage.replace("/", "_")
        figures[f"pulses_{name}"] = pulse_diagram(
            read_seq(files.seq(stage), check_signature=True), title
        )
        if point_of(stage) == OPTIMIZED:
            figures[f"kspace{name.removeprefix(OPTIMIZED)}"] = kspace_figure(
                Repetitions.from_tensors(*load_tensors(files.sequence(stage))), title
            )
    paths = []
    for name, figure in figures.items():
        paths.append(files.folder / "figures" / f"{name}.png")
        save_figure(figure, paths[-1])
    return paths


def found_stages(files: RunFiles) -> list[str]:
    """List the stages of start and optimized that results have, those of each sequence."""
    inside = (files.folder / START).glob("*/")
    names = [each.name for each in inside if files.image(f"{START}/{each.name}").is_file()]
    return [of_sequence(end, name) for end in ENDS for name in sorted(names) or [""]]
