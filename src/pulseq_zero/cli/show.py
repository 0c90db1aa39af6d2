"""Draw the results of an experiment."""

from __future__ import annotations

from pathlib import Path

from pulseq_zero.cli.results import found_stages, load_image
from pulseq_zero.conversion.repetitions import Repetitions
from pulseq_zero.errors import StoreError
from pulseq_zero.experiments.experiment import load_found
from pulseq_zero.experiments.layout import RunFiles
from pulseq_zero.experiments.section import read
from pulseq_zero.experiments.settings import Experiment
from pulseq_zero.experiments.stages import ENDS, OPTIMIZED, START, point_of
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
    images = {stage: load_image(files, stage) for stage in stages}
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
    history = load_table(files.history, ("iteration", "loss", "verified_loss"))
    if any(len(values) != len(history) for values in parameters.values()):
        raise StoreError(
            f"{files.parameters} and {files.history} differ in their iterations; make both again"
        )
    units = dict.fromkeys(parameters, "") | _units(files)
    figures = {
        "optimization": history_figure(
            pictures[START],
            pictures[OPTIMIZED],
            history,
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


def _units(files: RunFiles) -> dict[str, str]:
    """Units of the parameters, where there is a copy of the experiment file."""
    if not files.experiment.is_file():
        return {}
    experiment = read(Experiment, read_yaml(files.experiment), str(files.experiment))
    return {name: parameter.unit for name, parameter in experiment.parameters.items()}
