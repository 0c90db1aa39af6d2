"""Collect the numbers of one experiment."""

from pathlib import Path
from typing import Any

from pulseq_zero.errors import SequenceError
from pulseq_zero.evaluation import evaluate
from pulseq_zero.experiment import sequence_setup
from pulseq_zero.logs import logged
from pulseq_zero.phantom import Phantom
from pulseq_zero.point_spread import point_spread_width
from pulseq_zero.repetitions import Repetitions
from pulseq_zero.store import load_json, load_table, load_tensors, save_json


def main(
    experiment: dict[str, Any],
    images: dict[str, Path],
    sequences: dict[str, Path],
    simulation: dict[str, Any],
    start: Path,
    optimized: Path | None,
    imported: Path | None,
    parameters: Path,
    history: Path,
    scan: Path | None,
    exports: dict[str, Path],
    phantom: Path,
    evaluation: Path,
) -> None:
    values, found = load_tensors(parameters)
    imaged = Phantom.load(phantom)
    numbers = evaluate(
        experiment,
        imaged,
        tight_images={stage: load_tensors(file)[0]["image"] for stage, file in images.items()},
        start_image=load_tensors(start)[0]["image"],
        optimized_image=optimized and load_tensors(optimized)[0]["image"],
        imported_image=imported and load_tensors(imported)[0]["image"],
        point_spread_widths={
            stage: width(file, imaged, simulation) for stage, file in sequences.items()
        },
        start=sequence_setup(experiment).start,
        parameters=values,
        found=found,
        history=load_table(history),
        scan=None if scan is None else load_table(scan),
    )
    if exports:
        numbers["export"] |= {stage: load_json(file) for stage, file in exports.items()}
    save_json(evaluation, numbers)


def width(sequence: Path, phantom: Phantom, simulation: dict[str, Any]) -> float | None:
    """Width of the point-spread function, unless the sequence encodes none along y."""
    tensors, metadata = load_tensors(sequence)
    repetitions = Repetitions.from_tensors(tensors, metadata)
    try:
        return point_spread_width(repetitions, phantom, metadata["fov"], simulation=simulation)
    except SequenceError:
        return None


if "snakemake" in globals():
    files = {n: f for n, f in snakemake.input.items() if isinstance(f, str)}
    optional = {
        name: Path(files[name]) if name in files else None
        for name in ("optimized", "imported", "scan")
    }
    with logged(snakemake.log[0]):
        main(
            snakemake.params.experiment,
            dict(zip(snakemake.params.stages, map(Path, snakemake.input.images), strict=True)),
            dict(zip(snakemake.params.stages, map(Path, snakemake.input.sequences), strict=True)),
            snakemake.params.simulation,
            Path(snakemake.input.start),
            optional["optimized"],
            optional["imported"],
            Path(snakemake.input.parameters),
            Path(snakemake.input.history),
            optional["scan"],
            {
                stage: Path(files[f"{stage}_export"])
                for stage in ("start", "optimized")
                if f"{stage}_export" in files
            },
            Path(snakemake.input.phantom),
            Path(snakemake.output.evaluation),
        )
