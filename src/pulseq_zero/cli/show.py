"""Draw the results of an experiment."""

from __future__ import annotations

from pathlib import Path

from pulseq_zero.conversion.repetitions import Repetitions
from pulseq_zero.experiments.layout import RunFiles
from pulseq_zero.experiments.stages import ENDS, OPTIMIZED, START
from pulseq_zero.figures.history import history_figure
from pulseq_zero.figures.sequence import kspace_figure, pulse_diagram
from pulseq_zero.figures.style import save_figure
from pulseq_zero.files.seq import read_seq
from pulseq_zero.files.store import load_table, load_tensors
from pulseq_zero.files.yaml import read_yaml
from pulseq_zero.imaging.pictures import side_by_side


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
    start, metadata = load_tensors(files.image(START))
    optimized, other_metadata = load_tensors(files.image(OPTIMIZED))
    axes = len(metadata["fov"])
    parameters, _ = load_tensors(files.parameters)
    settings = read_yaml(files.experiment)["parameters"] if files.experiment.is_file() else {}
    units = {name: settings.get(name, {}).get("unit", "") for name in parameters}
    figures = {
        "optimization": history_figure(
            side_by_side(start["image"], axes),
            side_by_side(optimized["image"], axes),
            load_table(files.history, ("iteration", "loss", "verified_loss")),
            parameters,
            units,
            max(metadata["accuracy"], other_metadata["accuracy"]),
        ),
        "kspace": kspace_figure(
            Repetitions.from_tensors(*load_tensors(files.sequence(OPTIMIZED))), files.name
        ),
    }
    for stage in ENDS:
        title = f"{files.name}, {stage}"
        figures[f"pulses_{stage}"] = pulse_diagram(
            read_seq(files.seq(stage), check_signature=True), title
        )
    paths = []
    for name, figure in figures.items():
        paths.append(files.folder / "figures" / f"{name}.png")
        save_figure(figure, paths[-1])
    return paths
