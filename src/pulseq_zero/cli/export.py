"""Results for other programs."""

from __future__ import annotations

from pathlib import Path

from pulseq_zero.cli.show import found_stages
from pulseq_zero.errors import SequenceError
from pulseq_zero.experiments.layout import RunFiles
from pulseq_zero.files.exports import save_image, save_ismrmrd
from pulseq_zero.files.seq import read_seq
from pulseq_zero.files.store import load_tensors


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
        tensors, metadata = load_tensors(files.image(stage))
        sequence = read_seq(files.seq(stage), check_signature=True)
        extent = sequence.definitions.get("FOV", ())
        if len(extent) != 3:
            raise SequenceError(
                f"{files.seq(stage)} does not define its field of view, which says how thick the "
                "slice is; add seq.set_definition('FOV', [x, y, z]) in m to the sequence function"
            )
        name = stage.replace("/", "_")
        nifti = files.folder / "export" / f"{name}.nii.gz"
        mrd = files.folder / "export" / f"{name}.mrd"
        save_image(
            nifti,
            tensors["image"],
            metadata["fov"],
            float(extent[2]),
            metadata["position"],
            metadata["orientation"],
        )
        save_ismrmrd(mrd, tensors["signal"], sequence, tensors["image"].shape)
        written += [nifti, mrd]
    return written
