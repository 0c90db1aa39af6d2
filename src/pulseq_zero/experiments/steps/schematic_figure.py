"""Draw the optimization loop with a run's own pictures."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

from pulseq_zero.experiments.settings import Experiment
from pulseq_zero.figures.schematic import LoopPictures, schematic_figure
from pulseq_zero.figures.style import save_figure
from pulseq_zero.loading import load_function
from pulseq_zero.phantom import Phantom
from pulseq_zero.store import load_tensors

SECTIONS = ("sequence", "parameters", "loss")


def run(experiment: Experiment, phantom: Path, image: Path, png: Path, pdf: Path) -> None:
    """Draw the loop.

    Parameters
    ----------
    experiment
        The experiment.
    phantom, image
        What is imaged, and its image at the start values.
    png, pdf
        The figure.
    """
    stored, _ = load_tensors(image)
    maps = Phantom.load(phantom).maps()
    pictures = LoopPictures(
        sequence_code=_excerpt(load_function(experiment.sequence.function), lines=52),
        loss_code=_excerpt(load_function(experiment.loss.function), lines=10, from_line="def loss"),
        maps={"T2'" if name == "T2dash" else name: values for name, values in maps.items()},
        signal=stored["signal"][:, 0],
        image=stored["image"],
        target=stored["image"].abs(),
        parameters=", ".join(experiment.parameters),
    )
    save_figure(schematic_figure(pictures), png, pdf)


def _excerpt(function: Any, lines: int, from_line: str = "") -> str:
    """First lines of a function's code without its docstring."""
    source = inspect.getsource(function)
    if function.__doc__:
        head, _, rest = source.partition('"""')
        source = head.rstrip() + rest.partition('"""')[2]
    if from_line and from_line in source:
        source = "    " + source[source.index(from_line) :]
    return "\n".join(inspect.cleandoc(source).splitlines()[:lines])
