"""Draw the phantom's maps and regions."""

from pathlib import Path

from pulseq_zero.figures.phantom import phantom_figure
from pulseq_zero.figures.style import save_figure
from pulseq_zero.logs import logged
from pulseq_zero.phantom import Phantom


def main(phantom: Path, *figures: Path) -> None:
    save_figure(phantom_figure(Phantom.load(phantom)), *figures)


if "snakemake" in globals():
    with logged(snakemake.log[0]):
        main(
            Path(snakemake.input.phantom),
            Path(snakemake.output.png),
            Path(snakemake.output.pdf),
        )
