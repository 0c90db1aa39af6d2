"""Draw the optimization loop with this run's own pictures."""

import inspect
from pathlib import Path
from typing import Any

from pulseq_zero.experiment import sequence_setup
from pulseq_zero.figures.schematic import LoopPictures, schematic_figure
from pulseq_zero.figures.style import save_figure
from pulseq_zero.loading import load_function
from pulseq_zero.logs import logged
from pulseq_zero.phantom import Phantom
from pulseq_zero.store import load_tensors


def main(experiment: dict[str, Any], phantom: Path, image: Path, *figures: Path) -> None:
    setup = sequence_setup(experiment)
    loss = load_function(experiment["loss"]["function"])
    stored, _ = load_tensors(image)
    maps = Phantom.load(phantom).maps()
    pictures = LoopPictures(
        sequence_code=excerpt(setup.function, lines=52),
        loss_code=excerpt(loss, lines=10, from_line="def loss"),
        maps={"T2'" if name == "T2dash" else name: values for name, values in maps.items()},
        signal=stored["signal"][:, 0],
        image=stored["image"],
        target=stored["image"].abs(),
        parameters=", ".join(setup.parameters),
    )
    save_figure(schematic_figure(pictures), *figures)


def excerpt(function: Any, lines: int, from_line: str = "") -> str:
    """First lines of a function's code without its docstring."""
    source = inspect.getsource(function)
    if function.__doc__:
        head, _, rest = source.partition('"""')
        source = head.rstrip() + rest.partition('"""')[2]
    if from_line and from_line in source:
        source = "    " + source[source.index(from_line) :]
    return "\n".join(inspect.cleandoc(source).splitlines()[:lines])


if "snakemake" in globals():
    with logged(snakemake.log[0]):
        main(
            snakemake.params.experiment,
            Path(snakemake.input.phantom),
            Path(snakemake.input.image),
            Path(snakemake.output.png),
            Path(snakemake.output.pdf),
        )
