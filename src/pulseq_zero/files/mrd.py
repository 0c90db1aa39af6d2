"""Signals as ISMRMRD, for reconstructions of other programs."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise, takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from pulseq_zero.errors import SequenceError, StoreError
from pulseq_zero.files.store import atomic_path
from pulseq_zero.files.system import refused_fov, stated_fov, system_of

if TYPE_CHECKING:
    import pypulseq

# Pulseq's counters, and those of ISMRMRD that count the same
_COUNTERS = {
    "LIN": "kspace_encode_step_1",
    "PAR": "kspace_encode_step_2",
    "AVG": "average",
    "SLC": "slice",
    "ECO": "contrast",
    "PHS": "phase",
    "REP": "repetition",
    "SET": "set",
    "SEG": "segment",
}
# Pulseq's flags, and those of ISMRMRD that say the same
_FLAGS = {
    "NAV": "ACQ_IS_PHASECORR_DATA",
    "REV": "ACQ_IS_REVERSE",
    "REF": "ACQ_IS_PARALLEL_CALIBRATION",
    "IMA": "ACQ_IS_PARALLEL_CALIBRATION_AND_IMAGING",
    "NOISE": "ACQ_IS_NOISE_MEASUREMENT",
    "PMC": "ACQ_IS_RTFEEDBACK_DATA",
}
# ISMRMRD counts the samples of an acquisition by 16 bits
_MOST_SAMPLES = 2**16 - 1
# Likewise lines, slices and all else
_HIGHEST_COUNT = 2**16 - 1
# Of protons, as PyPulseq's default system has it [Hz/T]
_GAMMA = 42.576e6
# From right, front and top, as phantoms have it, to left, back and top
_TO_LPS = np.diag([-1.0, -1.0, 1.0])
# Extent of k-space along a direction, relative to that of all of it, that encodes nothing
_NOT_ENCODED = 1e-2
# Deviation from a straight line of equal steps, relative to a step, that counts as none
_STRAIGHT = 1e-3


def save_ismrmrd(
    path: Path | str,
    signal: Tensor,
    sequence: pypulseq.Sequence,
    matrix: Sequence[int],
    position: Sequence[float] = (0.0, 0.0, 0.0),
    orientation: ArrayLike | None = None,
) -> None:
    """Save a simulated signal as ISMRMRD, an acquisition for each ADC event.

    Labels of the sequence are its counters and flags: lines, partitions, slices, contrasts, sets.
    The encoded space is what the samples cover, oversampled readouts included; the reconstructed
    space has the sequence's field of view. Trajectories are in cycles per encoded field of view, as
    mrpro and BART have them.

    Programs that read it reconstruct with exp(2πi k·r), whereas the signal turns by just that: the
    file holds its complex conjugate, so that the image is that of `reconstruct`, complex
    conjugated.

    Read, phase and slice direction are those of the gradients x, y and z, in the patient's
    coordinates as DICOM has them: towards the left, back and top. The position of an acquisition is
    that of the image's middle: where the last excitation has put the slice,
    :math:`f G / |G|^2` for its frequency offset f in the gradient G, if the direction of G is not
    encoded. Excitations without a gradient, and volumes, are in the middle of the gradients. Shifts
    of the image by the receiver's phase or frequency are not counted.

    Parameters
    ----------
    path
        The file.
    signal
        (samples, coils) complex signal.
    sequence
        The sequence that it was simulated of, as `pulseq_zero.files.seq.read_seq` reads it.
    matrix
        Pixels along x and y, and z of a volume, that it shall be reconstructed to.
    position, orientation
        Where the middle of the gradients is in the patient [m], and the directions of x, y and z:
        those of the phantom, as for `pulseq_zero.files.exports.image_affine`.

    Raises
    ------
    SequenceError
        If the sequence does not define its field of view, or samples another signal.
    StoreError
        If the file cannot be written, or there are more samples in an ADC event, or another value
        of a label, than ISMRMRD can count.
    """
    fov = stated_fov(sequence)
    if len(fov) == 3 and not all(0 < length < np.inf for length in fov):
        raise refused_fov(sequence.definitions["FOV"])
    if len(fov) != 3:
        raise SequenceError(
            "the sequence has no definition FOV, which an ISMRMRD file must state; add "
            "seq.set_definition('FOV', [x, y, z]) in m"
        )
    blocks = [sequence.get_block(number) for number in sequence.block_events]
    adcs = [block.adc for block in blocks if block.adc is not None]
    counts = [int(adc.num_samples) for adc in adcs]
    missing = sum(counts) - len(signal)
    # Before the first pulse there is none
    if missing not in (0, _before_first_pulse(blocks)):
        raise SequenceError(
            f"the signal has {len(signal)} samples, but the sequence takes {sum(counts)}; export "
            "the signal with the sequence that it was simulated of"
        )
    signal = torch.cat([signal.new_zeros((missing, signal.shape[1])), signal])
    if max(counts, default=0) > _MOST_SAMPLES:
        raise StoreError(
            f"{path} cannot hold an ADC event of {max(counts)} samples, more than {_MOST_SAMPLES}; "
            "split it in the sequence"
        )
    import ismrmrd

    readouts = _Readouts(sequence, counts, position, orientation)
    size = [int(matrix[0]), int(matrix[1]), int(matrix[2]) if len(matrix) > 2 else 1]
    header = readouts.header(size, signal.shape[1])
    samples = signal.conj().resolve_conj().detach().cpu().to_dense().numpy().astype(np.complex64)
    with atomic_path(path) as temporary:
        dataset = ismrmrd.Dataset(str(temporary), create_if_needed=True)
        dataset.write_xml_header(ismrmrd.xsd.ToXML(header))
        for number, (adc, span) in enumerate(zip(adcs, readouts.spans, strict=True)):
            dataset.append_acquisition(readouts.acquisition(number, adc, samples[span]))
        dataset.close()


def _before_first_pulse(blocks: Sequence[Any]) -> int:
    """Count the samples that a simulation leaves out, such as those of a noise scan."""
    first = takewhile(lambda block: block.rf is None, blocks)
    return sum(int(block.adc.num_samples) for block in first if block.adc is not None)


def _slices(
    sequence: pypulseq.Sequence, kspace: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Find where excitations have put their slices.

    Parameters
    ----------
    sequence
        The sequence.
    kspace
        (3, samples) places of its samples [1/m].

    Returns
    -------
    tuple
        (excitations,) times [s], and (excitations, 3) offsets along the gradients [m].
    """
    times, (frequencies, *_), *_ = sequence.rf_times()
    times = np.asarray(times, dtype=float)
    # Outside of its first and last corner a waveform is not defined, and there is none
    gradients = np.stack(
        [
            np.nan_to_num(each(times)) if each is not None else 0.0 * times
            for each in sequence.get_gradients()
        ],
        1,
    )
    strength = np.linalg.norm(gradients, axis=1, keepdims=True)
    ways = gradients / np.where(strength > 0, strength, 1.0)
    extent = np.ptp(ways @ kspace, axis=1) if kspace.size else np.zeros(len(times))
    is_encoded = extent > _NOT_ENCODED * np.abs(kspace).max(initial=0.0)
    frequencies = np.asarray(frequencies, dtype=float).reshape(-1, 1)
    shift = frequencies / np.where(strength > 0, strength, np.inf)
    return times, np.where(is_encoded[:, None], 0.0, shift) * ways


class _Readouts:
    """The readouts of a sequence, as ISMRMRD describes them.

    Parameters
    ----------
    sequence
        The sequence.
    counts
        Samples of its ADC events.
    position, orientation
        As for `save_ismrmrd`.
    """

    def __init__(
        self,
        sequence: pypulseq.Sequence,
        counts: Sequence[int],
        position: Sequence[float],
        orientation: ArrayLike | None,
    ) -> None:
        self.system, self.definitions = system_of(sequence), sequence.definitions
        ends = np.cumsum([0, *counts])
        self.spans = [slice(a, b) for a, b in pairwise(ends)]
        kspace, *_, self.times = sequence.calculate_kspace()
        axes = np.eye(3) if orientation is None else np.asarray(orientation, dtype=float)
        self.directions = _TO_LPS @ axes
        self.isocentre = _TO_LPS @ np.asarray(position, dtype=float)
        self.excited, self.offsets = _slices(sequence, kspace)
        self.fov = np.array(stated_fov(sequence))
        self.encoded_fov = self.fov * [self._oversampling(kspace[0]), 1.0, 1.0]
        # Cycles per encoded field of view: whole numbers on a Cartesian grid
        self.trajectory = kspace.T * self.encoded_fov
        labels = sequence.evaluate_labels(evolution="adc")
        for name in _COUNTERS:
            values = labels.get(name, [])
            if min(values, default=0) < 0 or max(values, default=0) > _HIGHEST_COUNT:
                raise StoreError(
                    f"the label {name} counts from {min(values)} to {max(values)}, but ISMRMRD "
                    f"counts from 0 to {_HIGHEST_COUNT}; number it otherwise in the sequence"
                )
        self.labels = {name: np.asarray(values, dtype=int) for name, values in labels.items()}

    def _oversampling(self, along_x: NDArray[np.float64]) -> float:
        """Return how much finer readouts that are straight and even sample than the image needs."""
        steps = [np.diff(along_x[span]) for span in self.spans if span.stop - span.start > 1]
        if not steps:
            return 1.0
        sizes = np.concatenate([np.abs(each) for each in steps])
        step = float(np.median(sizes))
        is_even = step > 0 and bool((np.abs(sizes - step) <= _STRAIGHT * step).all())
        return max(1.0, 1.0 / (step * float(self.fov[0]))) if is_even else 1.0

    def header(self, matrix: Sequence[int], coils: int) -> Any:
        """Make the header of the file."""
        from ismrmrd import xsd

        def space(sizes: Sequence[int], fov: NDArray[np.float64]) -> Any:
            (x, y, z), extent = (int(size) for size in sizes), [float(1e3 * each) for each in fov]
            return xsd.encodingSpaceType(
                matrixSize=xsd.matrixSizeType(x=x, y=y, z=z),
                fieldOfView_mm=xsd.fieldOfViewMm(x=extent[0], y=extent[1], z=extent[2]),
            )

        covered = 2 * np.abs(self.trajectory).max(0, initial=0)
        encoded = np.maximum(np.round(covered), 1)
        limits = {
            name.replace("encode", "encoding"): self._limits(label)
            for label, name in _COUNTERS.items()
        }
        # Definitions are free text
        times = {
            name: [1e3 * float(each) for each in stated]
            for name in ("TE", "TR", "TI")
            if (stated := np.ravel(self.definitions.get(name, []))).dtype.kind in "iuf"
            and np.isfinite(stated).all()
        }
        return xsd.ismrmrdHeader(
            experimentalConditions=xsd.experimentalConditionsType(
                H1resonanceFrequency_Hz=round(self.system.B0 * _GAMMA)
            ),
            measurementInformation=xsd.measurementInformationType(
                patientPosition=xsd.patientPositionType.HFS
            ),
            acquisitionSystemInformation=xsd.acquisitionSystemInformationType(
                receiverChannels=coils
            ),
            sequenceParameters=xsd.sequenceParametersType(**times),
            encoding=[
                xsd.encodingType(
                    encodedSpace=space(encoded, self.encoded_fov),
                    reconSpace=space(matrix, self.fov),
                    encodingLimits=xsd.encodingLimitsType(**limits),
                    trajectory=xsd.trajectoryType.OTHER,
                )
            ],
        )

    def acquisition(self, number: int, adc: Any, samples: NDArray[np.complex64]) -> Any:
        """Make the acquisition of an ADC event from its (samples, coils) signal."""
        import ismrmrd

        span = self.spans[number]
        made = ismrmrd.Acquisition.from_array(
            np.ascontiguousarray(samples.T), self.trajectory[span].astype(np.float32)
        )
        made.scan_counter = number
        made.center_sample = self._centre(span)
        made.sample_time_us = 1e6 * float(adc.dwell)
        # The unit of time stamps is 2.5 ms
        made.acquisition_time_stamp = int(self.times[span.start] / 2.5e-3)
        made.read_dir[:], made.phase_dir[:], made.slice_dir[:] = self.directions.T
        made.position[:] = 1e3 * (self.isocentre + self.directions @ self._offset(span))
        for label, name in _COUNTERS.items():
            if label in self.labels:
                setattr(made.idx, name, int(self.labels[label][number]))
        for label, name in _FLAGS.items():
            if label in self.labels and self.labels[label][number] > 0:
                made.set_flag(getattr(ismrmrd, name))
        return made

    def _offset(self, span: slice) -> NDArray[np.float64]:
        """Return where the slice of a readout is along the gradients (3,) [m]."""
        last = int(np.searchsorted(self.excited, self.times[span.start], side="right")) - 1
        return self.offsets[last] if last >= 0 else np.zeros(3)

    def _centre(self, span: slice) -> int:
        """Return the sample of a readout that is nearest to zero along its direction."""
        course = self.trajectory[span]
        along = int(np.ptp(course, axis=0).argmax())
        return int(np.abs(course[:, along]).argmin())

    def _limits(self, label: str) -> Any:
        """Return the least and the largest value of a counter, and that of k-space's centre."""
        from ismrmrd import xsd

        values = self.labels.get(label, np.zeros(1, dtype=int))
        axis = {"LIN": 1, "PAR": 2}.get(label)
        centre = 0
        if axis is not None and label in self.labels:
            starts = [span.start + self._centre(span) for span in self.spans]
            centre = int(values[np.abs(self.trajectory[starts, axis]).argmin()])
        return xsd.limitType(minimum=int(values.min()), maximum=int(values.max()), center=centre)
