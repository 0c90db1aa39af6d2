"""Simulate an exported `.seq` file by Bloch isochromats."""

import time
from pathlib import Path
from typing import Any

from pulseq_zero.acquisition import image_of
from pulseq_zero.logs import logged
from pulseq_zero.metrics import nrmse
from pulseq_zero.phantom import Phantom
from pulseq_zero.repetitions import Repetitions
from pulseq_zero.simulation.bloch_seq import Physics, read_course
from pulseq_zero.simulation.isochromats import converged_isochromats
from pulseq_zero.store import load_tensors, save_tensors
from pulseq_zero.validation import judged_phantom


def main(
    experiment: dict[str, Any],
    validation: dict[str, Any],
    physics: Physics,
    phantom: Path,
    seq: Path,
    sequence: Path,
    image: Path,
) -> None:
    imaged, begin = Phantom.load(phantom), time.perf_counter()
    is_full = physics == "full"
    thickness = validation["thickness"] * imaged.slice_thickness if is_full else None
    found = converged_isochromats(
        read_course(seq, physics),
        judged_phantom(imaged, thickness),
        tolerance=validation["full_tolerance" if is_full else "tolerance"],
        largest=validation["largest"],
    )
    seconds = time.perf_counter() - begin
    # The trajectory, which labels a file's samples but does not enter their simulation
    tensors, metadata = load_tensors(sequence)
    repetitions = Repetitions.from_tensors(tensors, metadata)
    data = imaged.simulation_data()
    matrix = experiment.get("image", {}).get("matrix")
    fov = tuple(metadata["fov"])

    def imaging(signal: Any) -> Any:
        return image_of(
            signal,
            repetitions,
            data,
            matrix=tuple(matrix) if matrix else None,
            fov=fov,
        )

    one, other = (imaging(signal) for signal in found.seeds)
    mean = imaging(found.signal)
    scatter = nrmse(one - other + mean, mean)
    save_tensors(
        image, {"image": mean}, {"scatter": scatter, "spins": found.spins, "seconds": seconds}
    )


if "snakemake" in globals():
    with logged(snakemake.log[0]):
        main(
            snakemake.params.experiment,
            snakemake.params.validation,
            snakemake.wildcards.physics,
            Path(snakemake.input.phantom),
            Path(snakemake.input.seq),
            Path(snakemake.input.sequence),
            Path(snakemake.output.image),
        )
