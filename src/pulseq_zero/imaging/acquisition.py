"""From a sequence to an image: simulation and reconstruction."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pulseq_zero.conversion.repetitions import Repetitions
from pulseq_zero.errors import SequenceError
from pulseq_zero.imaging.reconstruction import noise_gain, reconstruct, reconstruct_coils
from pulseq_zero.imaging.samples import samples_of_image
from pulseq_zero.imaging.trajectory import resolved_matrix
from pulseq_zero.simulation import Simulation, Simulator

if TYPE_CHECKING:
    import MRzeroCore as mr0
    import pypulseq

    from pulseq_zero.conversion.costs import SequenceCost


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

    def of_coils(self, signal: Tensor) -> Tensor:
        """Reconstruct the (coils, x, y) images of a (samples, coils) signal."""
        return reconstruct_coils(
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


# What an acquisition computes of its sequence alone, and shares with those of other signals
_OF_SEQUENCE = ("reconstruction", "kspace", "sequence")


@dataclass(frozen=True, eq=False, repr=False)
class Acquisition:
    """What a sequence yields on a phantom, and what is made of it.

    This is what the imaging model makes, and what reconstructions and losses read. Whatever is not
    among the attributes is computed when it is asked for first, and differentiable.

    Attributes
    ----------
    signal
        (samples, coils) complex signal.
    repetitions
        The sequence as it was simulated.
    data
        What was imaged.
    matrix
        Pixels of the image in x and y, or None for as many as k-space resolves.
    fov
        Field of view in x and y [m].
    simulation
        What the signal comes from, with its error estimate; None where it does not come from a
        `Simulator`.
    sequence_cost
        Computes `sequence`.
    own_reconstruction
        Makes `image`, of an acquisition that reconstructs its own by the adjoint.
    shown
        (x, y) what `image` is instead of a reconstruction.
    """

    signal: Tensor
    repetitions: Repetitions
    data: mr0.SimData
    matrix: tuple[int, int] | None
    fov: tuple[float, float]
    simulation: Simulation | None = None
    sequence_cost: Callable[[], SequenceCost] | None = None
    own_reconstruction: ReconstructionFunction | None = None
    shown: Tensor | None = None

    def __repr__(self) -> str:
        samples, coils = self.signal.shape
        return f"Acquisition({samples} samples, {coils} coils, {len(self.data.PD)} voxels)"

    @cached_property
    def reconstruction(self) -> Reconstruction:
        """How the image is made of the signal.

        Raises
        ------
        SequenceError
            If the sequence has no ADC samples, or samples more than one image.
        """
        with self._differentiable():
            return Reconstruction.of(self.repetitions, self.data, matrix=self.matrix, fov=self.fov)

    @cached_property
    def image(self) -> Tensor:
        """(x, y) complex image, 1 for undephased magnetisation 1 of proton density 1.

        Several receive coils are combined by the root of the sum of squares. Errors as of
        `reconstruction`. If there is an own reconstruction, it is what that makes.
        """
        if self.shown is not None:
            return self.shown
        with self._differentiable():
            if self.own_reconstruction is not None:
                return self.own_reconstruction(self._with(own_reconstruction=None))
            return self.reconstruction(self.signal)

    @cached_property
    def coil_images(self) -> Tensor:
        """(coils, x, y) complex image of each receive coil; errors as of `reconstruction`."""
        with self._differentiable():
            return self.reconstruction.of_coils(self.signal)

    @cached_property
    def kspace(self) -> Tensor:
        """(samples, 4) kx, ky, kz [1/m] and time [s] of all samples, see `Repetitions.kspace`."""
        with self._differentiable():
            return self.repetitions.kspace()

    @property
    def labels(self) -> Mapping[str, Tensor]:
        """(samples,) int64 for each Pulseq label in use."""
        return self.repetitions.labels

    @cached_property
    def sequence(self) -> SequenceCost:
        """What the sequence takes: duration, RF energy of the pulses as played, gradients.

        Raises
        ------
        SequenceError
            If that is not known, as of repetitions that were given without their sequence.
        """
        if self.sequence_cost is None:
            raise SequenceError(
                "of this acquisition the repetitions are known, and not the sequence with its "
                "pulses; let a pulseq_zero.ImagingModel of the sequence function acquire it"
            )
        with self._differentiable():
            return self.sequence_cost()

    def showing(self, image: Tensor) -> Acquisition:
        """Return the same acquisition with another (x, y) image."""
        return self._with(shown=image)

    def with_signal(self, signal: Tensor) -> Acquisition:
        """Return the same acquisition with another (samples, coils) signal, as one with noise."""
        return self._with(signal=signal, shown=None)

    def _with(self, **changes: Any) -> Acquisition:
        made = replace(self, **changes)
        known = {name: value for name, value in vars(self).items() if name in _OF_SEQUENCE}
        vars(made).update(known)
        return made

    def _differentiable(self) -> torch.set_grad_enabled:
        """Compute what is kept with its gradient, even where it is first asked for without."""
        tensors = (
            self.signal,
            self.repetitions.pulse_angle,
            self.repetitions.event_time,
            self.repetitions.gradient_moment,
        )
        wanted = any(tensor.requires_grad for tensor in tensors)
        return torch.set_grad_enabled(wanted or torch.is_grad_enabled())


ReconstructionFunction = Callable[[Acquisition], Tensor]


def acquire(
    repetitions: Repetitions,
    simulator: Simulator,
    *,
    matrix: tuple[int, int] | None,
    fov: tuple[float, float],
    sequence_cost: Callable[[], SequenceCost] | None = None,
    own_reconstruction: ReconstructionFunction | None = None,
) -> Acquisition:
    """Simulate one sequence.

    Parameters
    ----------
    repetitions
        The sequence.
    simulator
        Simulates it.
    matrix, fov, sequence_cost, own_reconstruction
        As in `Acquisition`.
    """
    simulation = simulator(repetitions)
    return Acquisition(
        simulation.signal,
        repetitions,
        simulator.data,
        matrix,
        fov,
        simulation,
        sequence_cost,
        own_reconstruction,
    )


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
