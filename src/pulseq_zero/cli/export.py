"""Results for other programs."""

from __future__ import annotations

from pathlib import Path

from pulseq_zero.cli.results import found_stages, load_image
from pulseq_zero.errors import SequenceError
from pulseq_zero.experiments.layout import RunFiles
from pulseq_zero.files.exports import save_image
from pulseq_zero.files.mrd import save_ismrmrd
from pulseq_zero.files.seq import read_seq
from pulseq_zero.files.system import stated_fov
from pulseq_zero.imaging.pictures import stacked


def export_results(files: RunFiles) -> list[Path]:
    """Write images as NIfTI and signals as ISMRMRD, of the start and of the optimized sequence.

    Parameters
    ----------
    files
        Results, by the command line or by the pipeline.

    Returns
    -------
    list
        The files that were written.

    Raises
    ------
    SequenceError
        If the sequence does not define its field of view along z, the slice thickness.
    StoreError
        If a result is missing, or a file cannot be written.
    """
    written = []
    for stage in found_stages(files):
        tensors, metadata = load_image(files, stage)
        sequence = read_seq(files.seq(stage), check_signature=True)
        extent = stated_fov(sequence)
        if len(extent) != 3:
            raise SequenceError(
                f"{files.seq(stage)} does not define its field of view, which says how thick the "
                "slice is; add seq.set_definition('FOV', [x, y, z]) in m to the sequence function"
            )
        name = stage.replace("/", "_")
        fov, image = metadata["fov"], tensors["image"]
        matrix = image.shape[-len(fov) :]
        nifti = files.folder / "export" / f"{name}.nii.gz"
        mrd = files.folder / "export" / f"{name}.mrd"
        save_image(
            nifti,
            stacked(image, len(fov)),
            fov[:2],
            fov[2] / matrix[2] if len(fov) == 3 else extent[2],
            metadata["position"],
            metadata["orientation"],
        )
        save_ismrmrd(
            mrd,
            tensors["signal"],
            sequence,
            matrix,
            metadata["position"],
            metadata["orientation"],
        )
        written += [nifti, mrd]
    return written
