"""Collect the numbers of one experiment."""

from pathlib import Path
from typing import Any

from pulseq_zero.evaluation import evaluate
from pulseq_zero.logs import logged
from pulseq_zero.phantom import Phantom
from pulseq_zero.store import load_json, load_table, load_tensors, save_json


def main(
    experiment: dict[str, Any],
    images: dict[str, Path],
    start: Path,
    optimized: Path,
    imported: Path,
    parameters: Path,
    history: Path,
    scan: Path | None,
    exports: dict[str, Path],
    phantom: Path,
    evaluation: Path,
) -> None:
    values, found = load_tensors(parameters)
    numbers = evaluate(
        experiment,
        Phantom.load(phantom),
        tight_images={stage: load_tensors(file)[0]["image"] for stage, file in images.items()},
        start_image=load_tensors(start)[0]["image"],
        optimized_image=load_tensors(optimized)[0]["image"],
        imported_image=load_tensors(imported)[0]["image"],
        parameters=values,
        found=found,
        history=load_table(history),
        scan=None if scan is None else load_table(scan),
    )
    numbers["export"] |= {stage: load_json(file) for stage, file in exports.items()}
    save_json(evaluation, numbers)


if "snakemake" in globals():
    with logged(snakemake.log[0]):
        main(
            snakemake.params.experiment,
            dict(zip(snakemake.params.stages, map(Path, snakemake.input.images), strict=True)),
            Path(snakemake.input.start),
            Path(snakemake.input.optimized),
            Path(snakemake.input.imported),
            Path(snakemake.input.parameters),
            Path(snakemake.input.history),
            Path(snakemake.input.scan) if "scan" in dict(snakemake.input.items()) else None,
            {
                "start": Path(snakemake.input.start_export),
                "optimized": Path(snakemake.input.optimized_export),
            },
            Path(snakemake.input.phantom),
            Path(snakemake.output.evaluation),
        )
