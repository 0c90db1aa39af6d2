"""Simulate a `.seq` file: images, signal and k-space, for eyes and for other programs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pypulseq

from pulseq_zero.errors import SequenceError, UnsupportedFileError
from pulseq_zero.figures.sequence import kspace_figure, pulse_diagram
from pulseq_zero.figures.signal import acquisition_figure, signal_figure
from pulseq_zero.figures.style import save_figure
from pulseq_zero.files.exports import save_image
from pulseq_zero.files.mrd import save_ismrmrd
from pulseq_zero.files.seq import read_seq
from pulseq_zero.files.system import stated_fov
from pulseq_zero.imaging.acquisition import Acquisition, defined_fov
from pulseq_zero.imaging.pictures import side_by_side, stacked
from pulseq_zero.imaging.simulating import simulate
from pulseq_zero.phantom import Phantom, build_phantom
from pulseq_zero.phantom.from_file import read_phantom


def simulate_file(
    file: Path,
    folder: Path,
    *,
    phantom: Path | None = None,
    fov: tuple[float, float] | None = None,
    matrix: tuple[int, int] | None = None,
    field: float | None = None,
    report: Callable[[str], None] = print,
) -> list[Path]:
    """Simulate a file, and write what a person looks at and what other programs read.

    Of a file that PyPulseq does not understand there are no pulse diagram and no ISMRMRD file.
    Where the samples make no image, as those of a spectrum do not, there is the signal alone.
    A file that samples several planes of k-space is one of a volume, whose extent along z is that
    of its definition ``FOV``.

    Parameters
    ----------
    file
        The ``.seq`` file.
    folder
        Where to write.
    phantom
        See `pulseq_zero.phantom.from_file.read_phantom`; by default the embedded brain.
    fov, matrix
        As for `pulseq_zero.simulate`.
    field
        Field strength [T], where the file does not state it.
    report
        Gets a sentence on what was simulated.

    Returns
    -------
    list
        The files that were written.

    Raises
    ------
    SequenceError, PhantomError, ConfigError
        If the sequence or the phantom cannot be used; nothing is written then.
    StoreError
        If a file cannot be written.
    """
    system = None if field is None else pypulseq.Opts(B0=field)
    try:
        sequence = read_seq(file, system=system)
    except UnsupportedFileError:
        sequence = None
    imaged = build_phantom({}) if phantom is None else read_phantom(phantom)
    acquisition = simulate(sequence or file, imaged, fov=fov, matrix=matrix)
    try:
        acquisition = _of_volume(acquisition, sequence)
        image = _summary_of_image(acquisition)
        has_image = True
    except SequenceError as error:
        if not len(acquisition.signal):
            raise
        image = f"no image, as {str(error).partition(';')[0]}"
        has_image = False
    report(f"{file}: {_summary(acquisition)}; {image}")
    return [
        *_draw(file.stem, folder, sequence, acquisition, has_image),
        *_export(folder, sequence, imaged, acquisition, has_image),
    ]


def _of_volume(acquisition: Acquisition, sequence: pypulseq.Sequence | None) -> Acquisition:
    """Take a plane for a volume, if that is what is sampled and the file states its extent."""
    if sequence is not None and acquisition.matrix is None:
        with suppress(SequenceError):
            extent = defined_fov(sequence, 3)[2]
            volume = replace(acquisition, fov=(*acquisition.fov, extent))
            _, (first, *_) = volume.reconstructions
            if first.matrix[2] > 1:
                return volume
    return acquisition


def _summary(acquisition: Acquisition) -> str:
    repetitions = acquisition.repetitions
    seconds = float(repetitions.event_time.double().sum())
    return (
        f"{len(repetitions.pulse_use)} pulses, {len(acquisition.signal)} samples, {seconds:.4g} s"
    )


def _summary_of_image(acquisition: Acquisition) -> str:
    labels, (reconstruction, *_) = acquisition.reconstructions
    pixels = " x ".join(map(str, reconstruction.matrix))
    extent = " x ".join(f"{1e3 * length:.4g}" for length in reconstruction.fov)
    return f"{_images(labels)} of {pixels} pixels, {extent} mm"


def _images(labels: Mapping[str, Sequence[int]]) -> str:
    several = ", ".join(f"{len(values)} by label {name}" for name, values in labels.items())
    return f"images ({several})" if several else "image"


def _draw(
    title: str,
    folder: Path,
    sequence: pypulseq.Sequence | None,
    acquisition: Acquisition,
    has_image: bool,
) -> list[Path]:
    figures = {"kspace": kspace_figure(acquisition.repetitions, title)}
    if has_image:
        image = side_by_side(acquisition.images, len(acquisition.fov))
        figures["image"] = acquisition_figure(image, acquisition.signal)
    else:
        figures["signal"] = signal_figure(acquisition.signal)
    if sequence is not None:
        figures["pulses"] = pulse_diagram(sequence, title)
    paths = [folder / f"{name}.png" for name in figures]
    for path, figure in zip(paths, figures.values(), strict=True):
        save_figure(figure, path)
    return paths


def _export(
    folder: Path,
    sequence: pypulseq.Sequence | None,
    phantom: Phantom,
    acquisition: Acquisition,
    has_image: bool,
) -> list[Path]:
    nifti, mrd = folder / "image.nii.gz", folder / "signal.mrd"
    stated = [] if sequence is None else stated_fov(sequence)
    extent = stated[2] if len(stated) == 3 else phantom.slice_thickness
    fov: tuple[float, ...] = acquisition.fov
    matrix: tuple[int, ...] = (1, 1)
    if has_image:
        _, (reconstruction, *_) = acquisition.reconstructions
        fov, matrix = reconstruction.fov, reconstruction.matrix
        if len(fov) == 3:
            extent = fov[2]
        thickness = extent / matrix[2] if len(fov) == 3 else extent
        image = stacked(acquisition.images, len(fov))
        save_image(nifti, image, fov[:2], thickness, phantom.position, phantom.orientation)
    if sequence is not None:
        sequence.set_definition("FOV", [*fov[:2], extent])
        save_ismrmrd(
            mrd, acquisition.signal, sequence, matrix, phantom.position, phantom.orientation
        )
    return [nifti] * has_image + [mrd] * (sequence is not None)
