"""Draw the pulse diagram and the k-space order of an exported sequence."""

from pathlib import Path

from pulseq_zero.figures.sequence import kspace_figure, pulse_diagram
from pulseq_zero.figures.style import save_figure
from pulseq_zero.logs import logged
from pulseq_zero.repetitions import Repetitions
from pulseq_zero.seq_files import read_seq
from pulseq_zero.store import load_tensors


def main(
    seq: Path, sequence: Path, title: str, pulses: tuple[Path, ...], kspace: tuple[Path, ...]
) -> None:
    save_figure(pulse_diagram(read_seq(seq), title), *pulses)
    repetitions = Repetitions.from_tensors(*load_tensors(sequence))
    save_figure(kspace_figure(repetitions, title), *kspace)


if "snakemake" in globals():
    with logged(snakemake.log[0]):
        main(
            Path(snakemake.input.seq),
            Path(snakemake.input.sequence),
            snakemake.params.title,
            (Path(snakemake.output.pulses_png), Path(snakemake.output.pulses_pdf)),
            (Path(snakemake.output.kspace_png), Path(snakemake.output.kspace_pdf)),
        )
