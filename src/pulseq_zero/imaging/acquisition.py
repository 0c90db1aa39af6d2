"""From a sequence to an image: simulation and reconstruction."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from pulseq_zero.conversion.repetitions import Repetitions
from pulseq_zero.errors import SequenceError
from pulseq_zero.imaging.reconstruction import noise_gain, reconstruct
from pulseq_zero.imaging.samples import samples_of_image
from pulseq_zero.imaging.trajectory import resolved_matrix
from pulseq_zero.simulation import Simulation, Simulator

if TYPE_CHECKING:
    import MRzeroCore as mr0
    import pypulseq


@dataclass(frozen=True)
class Reconstruction:
    """How the image of a sequence is made of its signal.

    Attributes
    ----------
    samples
        Index of those that make the image.
    kspace
        (samples, 4) kx, ky, kz [1/m] and time of these.
    matrix
        Pixels of the image in x and y.
    fov
        Field of view in x and y [m].
    voxel_size
        Size of the phantom's voxels in x and y [m], if they have one.
    """

    samples: Tensor | slice
    kspace: Tensor
    matrix: tuple[int, int]
    fov: tuple[float, float]
    voxel_size: tuple[float, float] | None

    @classmethod
    def of(
        cls,
        repetitions: Repetitions,
        data: mr0.SimData,
        *,
        matrix: tuple[int, int] | None,
        fov: tuple[float, float],
    ) -> Reconstruction:
        """Find out how to reconstruct a sequence; arguments and errors as for `image_of`."""
        if not bool(repetitions.is_sample.any()):
            raise SequenceError("the sequence has no ADC samples; add an ADC event to its readout")
        kspace = repetitions.kspace()
        samples = samples_of_image(repetitions, kspace, fov)
        kspace = kspace[samples]
        if not repetitions.gradient_moment.requires_grad:
            # Times do not move the samples: without the gradient the reconstruction is an FFT
            kspace = kspace.detach()
        matrix = matrix or resolved_matrix(kspace, fov)
        return cls(samples, kspace, matrix, fov, voxel_size(data))

    def __call__(self, signal: Tensor) -> Tensor:
        """Reconstruct the (x, y) image of a (samples, coils) signal."""
        return reconstruct(
            signal[self.samples],
            self.kspace,
            matrix=self.matrix,
            fov=self.fov,
            voxel_size=self.voxel_size,
        )

    @property
    def noise_gain(self) -> float:
        """Noise of a pixel, relative to that of a sample; see `reconstruction.noise_gain`."""
        return noise_gain(self.kspace, self.matrix, self.fov, voxel_size=self.voxel_size)


@dataclass(frozen=True)
class Acquisition:
    """What one run of the imaging model yields.

    Attributes
    ----------
    image
        (x, y) complex image, 1 for undephased magnetisation 1 of proton density 1. Several
        receive coils are combined by the root of the sum of squares.
    simulation
        The simulated signal (samples, coils) and its error estimate.
    repetitions
        The sequence as it was simulated.
    reconstruction
        How the image was made of the signal.
    """

    image: Tensor
    simulation: Simulation
    repetitions: Repetitions
    reconstruction: Reconstruction

    @property
    def signal(self) -> Tensor:
        """(samples, coils) complex signal."""
        return self.simulation.signal


def acquire(
    repetitions: Repetitions,
    simulator: Simulator,
    *,
    matrix: tuple[int, int] | None,
    fov: tuple[float, float],
) -> Acquisition:
    """Simulate and reconstruct one sequence.

    Parameters
    ----------
    repetitions
        The sequence.
    simulator
        Simulates it.
    matrix
        Pixels of the image in x and y, or None for as many as k-space resolves.
    fov
        Field of view in x and y [m].

    Raises
    ------
    SequenceError
        If the sequence has no ADC samples, or samples more than one image.
    """
    simulation = simulator(repetitions)
    reconstruction = Reconstruction.of(repetitions, simulator.data, matrix=matrix, fov=fov)
    image = reconstruction(simulation.signal)
    return Acquisition(image, simulation, repetitions, reconstruction)


def image_of(
    signal: Tensor,
    repetitions: Repetitions,
    data: mr0.SimData,
    *,
    matrix: tuple[int, int] | None,
    fov: tuple[float, float],
) -> Tensor:
    """Reconstruct the (x, y) image of a (samples, coils) signal; arguments as for `acquire`.

    Raises
    ------
    SequenceError
        If the sequence has no ADC samples, or samples more than one image, see
        `pulseq_zero.imaging.samples.samples_of_image`.
    """
    return Reconstruction.of(repetitions, data, matrix=matrix, fov=fov)(signal)


def voxel_size(data: mr0.SimData) -> tuple[float, float] | None:
    """Return the size of the phantom's voxels [m]: half a turn of what they can encode."""
    x, y = (float(limit) for limit in data.nyquist[:2])
    # Voxels that are no grid have no such limit, and no size that could scale an image
    return (0.5 / x, 0.5 / y) if math.isfinite(x * y) else None


def defined_fov(sequence: pypulseq.Sequence) -> tuple[float, float]:
    """Field of view in x and y [m] that the sequence states in its definition ``FOV``.

    Raises
    ------
    SequenceError
        If the sequence does not define it, or not as lengths.
    """
    fov = sequence.definitions.get("FOV")
    if fov is None or len(fov) < 2:
        raise SequenceError(
            "the sequence has no definition FOV; add seq.set_definition('FOV', [x, y, z]) in m "
            "or give the field of view as fov= (in an experiment file as image.fov)"
        )
    try:
        x, y = float(fov[0]), float(fov[1])
        is_size = 0 < x < math.inf and 0 < y < math.inf
    except (TypeError, ValueError):
        is_size = False
    if not is_size:
        raise SequenceError(
            f"the sequence's definition FOV is {fov!r}, but must be its lengths [x, y, z] in m"
        )
    return x, y
