"""Draw the phantom, and the optimization loop with a run's own pictures."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

from pulseq_zero.experiments.layout import FIGURES, ResultFiles
from pulseq_zero.experiments.settings import Experiment
from pulseq_zero.figures.phantom import phantom_figure
from pulseq_zero.figures.schematic import LoopPictures, schematic_figure
from pulseq_zero.figures.style import save_figure, save_in_widths
from pulseq_zero.files.loading import load_function
from pulseq_zero.files.store import load_tensors
from pulseq_zero.imaging.pictures import side_by_side
from pulseq_zero.phantom import Phantom

SECTIONS = ("sequence", "sequences", "parameters", "loss")


def run(experiment: Experiment, phantom: Path, image: Path, results: ResultFiles) -> None:
    """Draw phantom and loop.

    Parameters
    ----------
    experiment
        The experiment that the loop shows.
    phantom, image
        What is imaged, and the experiment's image at the start values, of its first sequence.
    results
        The files of all runs, of which the figures are made.
    """
    imaged = Phantom.load(phantom)
    sequence = next(iter(experiment.sequences_by_name.values()))
    stored, metadata = load_tensors(image)
    picture = side_by_side(stored["image"], len(metadata["fov"]))
    pictures = LoopPictures(
        sequence_code=_excerpt(load_function(sequence.function), lines=52),
        loss_code=_excerpt(load_function(experiment.loss.function), lines=10, from_line="def loss"),
        maps={"T2'" if name == "T2dash" else name: m for name, m in imaged.maps().items()},
        signal=stored["signal"][:, 0],
        image=picture,
        target=picture.abs(),
        parameters=", ".join(experiment.parameters),
    )
    save_in_widths(
        lambda: phantom_figure(imaged), *(results.figure("phantom", suffix) for suffix in FIGURES)
    )
    # The loop does not fit into a column
    *in_page, _ = FIGURES
    save_figure(
        schematic_figure(pictures), *(results.figure("schematic", suffix) for suffix in in_page)
    )


def _excerpt(function: Any, lines: int, from_line: str = "") -> str:
    """First lines of a function's code without its docstring."""
    source = inspect.getsource(function)
    if function.__doc__:
        head, _, rest = source.partition('"""')
        source = head.rstrip() + rest.partition('"""')[2]
    if from_line and from_line in source:
        source = "    " + source[source.index(from_line) :]
    return "\n".join(inspect.cleandoc(source).splitlines()[:lines])
