"""Build the phantom and store it for the simulation and for other programs."""

from pathlib import Path
from typing import Any

from pulseq_zero.logs import logged
from pulseq_zero.phantom import build_phantom


def main(settings: dict[str, Any], phantom: Path, nifti: Path) -> None:
    built = build_phantom(settings)
    built.save(phantom)
    built.save_nifti(nifti)


if "snakemake" in globals():
    with logged(snakemake.log[0]):
        main(
            snakemake.params.phantom,
            Path(snakemake.output.phantom),
            Path(snakemake.output.nifti),
        )
