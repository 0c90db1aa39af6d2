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
from pulseq_zero.errors import SequenceError, SimulationError, check_function
from pulseq_zero.files.loading import call
from pulseq_zero.files.system import refused_fov, stated_fov
from pulseq_zero.imaging.planes import resolved_volume
from pulseq_zero.imaging.reconstruction import (
    check_pixels,
    check_signal,
    noise_gain,
    reconstruct,
    reconstruct_coils,
)
from pulseq_zero.imaging.samples import samples_of_image, samples_of_images
from pulseq_zero.imaging.trajectory import resolved_matrix
from pulseq_zero.simulation import Simulation, Simulator

if TYPE_CHECKING:
    import MRzeroCore as mr0
    import pypulseq

    from pulseq_zero.conversion.costs import SequenceCost
    from pulseq_zero.phantom.imaged import Imaged


# An image of more pixels, and of more for each sample, is not what is sampled
_FEW_PIXELS, _PER_SAMPLE = 2**20, 256


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
        Pixels of the image in x and y, and in z of a volume.
    fov
        Field of view along the same axes [m].
    voxel_size
        Size of the phantom's voxels along the same axes [m], if they have one.
    """

    samples: Tensor | slice
    kspace: Tensor
    matrix: tuple[int, ...]
    fov: tuple[float, ...]
    voxel_size: tuple[float, ...] | None

    @classmethod
    def of(
        cls,
        repetitions: Repetitions,
        data: mr0.SimData,
        *,
        matrix: tuple[int, ...] | None,
        fov: tuple[float, ...],
    ) -> Reconstruction:
        """Find out how to reconstruct a sequence; arguments and errors as for `image_of`."""
        kspace = _kspace(repetitions)
        samples = samples_of_image(repetitions, kspace, fov)
        return cls._of_samples(samples, kspace, data, matrix, fov)

    @classmethod
    def of_images(
        cls,
        repetitions: Repetitions,
        data: mr0.SimData,
        *,
        matrix: tuple[int, ...] | None,
        fov: tuple[float, ...],
    ) -> tuple[dict[str, list[int]], list[Reconstruction]]:
        """Find out how to reconstruct each image, and by which labels they are sorted.

        Arguments as for `image_of`, errors and labels as of
        `pulseq_zero.imaging.samples.samples_of_images`. All images have the pixels of the first.
        """
        kspace = _kspace(repetitions)
        labels, images = samples_of_images(repetitions, kspace, fov)
        made: list[Reconstruction] = []
        for samples in images:
            made.append(cls._of_samples(samples, kspace, data, matrix, fov))
            matrix = made[0].matrix
        return labels, made

    @classmethod
    def _of_samples(
        cls,
        samples: Tensor | slice,
        kspace: Tensor,
        data: mr0.SimData,
        matrix: tuple[int, ...] | None,
        fov: tuple[float, ...],
    ) -> Reconstruction:
        kspace = kspace[samples]
        is_resolved = matrix is None
        if matrix is None:
            matrix = (resolved_matrix if len(fov) == 2 else resolved_volume)(kspace, fov)
        check_pixels(matrix)
        if is_resolved and math.prod(matrix) > max(_FEW_PIXELS, _PER_SAMPLE * len(kspace)):
            extent = " x ".join(f"{length:g}" for length in fov)
            raise SimulationError(
                f"{len(kspace)} samples of a field of view of {extent} m would make an image of "
                f"{' x '.join(map(str, matrix))} pixels; give the field of view in m, or a matrix"
            )
        return cls(samples, kspace, matrix, fov, voxel_size(data, len(fov)))

    def __call__(self, signal: Tensor) -> Tensor:
        """Reconstruct the (x, y[, z]) image of a (samples, coils) signal."""
        return reconstruct(
            signal[self.samples],
            self.kspace,
            matrix=self.matrix,
            fov=self.fov,
            voxel_size=self.voxel_size,
        )

    def of_coils(self, signal: Tensor) -> Tensor:
        """Reconstruct the (coils, x, y[, z]) images of a (samples, coils) signal."""
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
_OF_SEQUENCE = ("reconstruction", "reconstructions", "kspace", "sequence")


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
        Pixels of the image in x and y, and in z of a volume, or None for as many as k-space
        resolves.
    fov
        Field of view in x and y, and in z of a volume [m].
    simulation
        What the signal comes from, with its error estimate; None where it does not come from a
        `Simulator`.
    sequence_cost
        Computes `sequence`.
    own_reconstruction
        Makes `image`, of an acquisition that reconstructs its own by the adjoint.
    shown
        (x, y[, z]) what `image` is instead of a reconstruction.
    phantom
        What was imaged, as it was given; None where only its data are known.
    """

    signal: Tensor
    repetitions: Repetitions
    data: mr0.SimData
    matrix: tuple[int, ...] | None
    fov: tuple[float, ...]
    simulation: Simulation | None = None
    sequence_cost: Callable[[], SequenceCost] | None = None
    own_reconstruction: ReconstructionFunction | None = None
    shown: Tensor | None = None
    phantom: Imaged | None = None

    def __repr__(self) -> str:
        samples, coils = self.signal.shape
        of_coils = f"{coils} coil{'s' * (coils > 1)}"
        return f"Acquisition({samples} samples, {of_coils}, {len(self.data.PD)} voxels)"

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
        """(x, y[, z]) complex image, 1 for undephased magnetisation 1 of proton density 1.

        Several receive coils are combined by the root of the sum of squares. Errors as of
        `reconstruction`. If there is an own reconstruction, it is what that makes.

        Raises
        ------
        SimulationError
            If the own reconstruction fails, or makes no tensor.
        """
        if self.shown is not None:
            return self.shown
        with self._differentiable():
            if self.own_reconstruction is not None:
                return _reconstructed(self.own_reconstruction, self._with(own_reconstruction=None))
            return self.reconstruction(self.signal)

    @cached_property
    def reconstructions(self) -> tuple[Mapping[str, list[int]], list[Reconstruction]]:
        """How each of `images` is made, and by which values of which labels they are sorted.

        Raises
        ------
        SequenceError
            If the samples of one label are no image, or a combination of labels is missing.
        """
        with self._differentiable():
            return Reconstruction.of_images(
                self.repetitions, self.data, matrix=self.matrix, fov=self.fov
            )

    @cached_property
    def images(self) -> Tensor:
        """(contrasts..., x, y[, z]) complex images by the adjoint, as `image` is of one.

        There is an axis for each of Pulseq's counters ECO, SET, SLC, REP, PHS and PAR, in this
        order, that has several values, see `reconstructions`; in a volume, PAR has none. Errors as
        there.
        """
        labels, reconstructions = self.reconstructions
        with self._differentiable():
            images = torch.stack([each(self.signal) for each in reconstructions])
            return images.reshape(*map(len, labels.values()), *images.shape[1:])

    @cached_property
    def coil_images(self) -> Tensor:
        """(coils, x, y[, z]) complex image of each receive coil; errors as of `reconstruction`."""
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
        """Return the same acquisition with another (x, y[, z]) image."""
        return self._with(shown=image)

    def reconstructed_by(self, reconstruction: ReconstructionFunction | None) -> Acquisition:
        """Return the same acquisition whose image a function makes; None for the adjoint."""
        check_function("reconstruction", reconstruction, SimulationError)
        return self._with(own_reconstruction=reconstruction, shown=None)

    def with_signal(self, signal: Tensor) -> Acquisition:
        """Return the same acquisition with another (samples, coils) signal, as one with noise."""
        check_signal(signal, len(self.signal))
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


def _reconstructed(reconstruction: ReconstructionFunction, acquisition: Acquisition) -> Tensor:
    """Call an own reconstruction."""
    made = call("the reconstruction", reconstruction, acquisition, error=SimulationError)
    if not isinstance(made, Tensor):
        raise SimulationError(
            f"the reconstruction returns {type(made).__name__}, but must return a tensor"
        )
    return made


def acquire(
    repetitions: Repetitions,
    simulator: Simulator,
    *,
    matrix: tuple[int, ...] | None,
    fov: tuple[float, ...],
    sequence_cost: Callable[[], SequenceCost] | None = None,
    own_reconstruction: ReconstructionFunction | None = None,
    phantom: Imaged | None = None,
) -> Acquisition:
    """Simulate one sequence.

    Parameters
    ----------
    repetitions
        The sequence.
    simulator
        Simulates it.
    matrix, fov, sequence_cost, own_reconstruction, phantom
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
        phantom=phantom,
    )


def image_of(
    signal: Tensor,
    repetitions: Repetitions,
    data: mr0.SimData,
    *,
    matrix: tuple[int, ...] | None,
    fov: tuple[float, ...],
) -> Tensor:
    """Reconstruct the (x, y[, z]) image of a (samples, coils) signal; arguments as for `acquire`.

    Raises
    ------
    SequenceError
        If the sequence has no ADC samples, or samples more than one image, see
        `pulseq_zero.imaging.samples.samples_of_image`.
    """
    return Reconstruction.of(repetitions, data, matrix=matrix, fov=fov)(signal)


def voxel_size(data: mr0.SimData, axes: int = 2) -> tuple[float, ...] | None:
    """Return the size of the phantom's voxels along axes [m]: half a turn of what they encode."""
    nyquist = [float(limit) for limit in data.nyquist[:axes]]
    # Voxels that are no grid have no such limit, and no size that could scale an image
    return tuple(0.5 / limit for limit in nyquist) if math.isfinite(math.prod(nyquist)) else None


def defined_fov(sequence: pypulseq.Sequence, axes: int = 2) -> tuple[float, ...]:
    """Field of view in x and y, or in x, y and z, that the sequence's definition ``FOV`` is [m].

    Raises
    ------
    SequenceError
        If the sequence does not define it, or not as lengths.
    """
    fov = stated_fov(sequence)
    if len(fov) < axes:
        raise SequenceError(
            "the sequence has no definition FOV; add seq.set_definition('FOV', [x, y, z]) in m "
            "or give the field of view as fov= (in an experiment file as image.fov)"
        )
    if not all(0 < length < math.inf for length in fov[:axes]):
        raise refused_fov(sequence.definitions["FOV"])
    return tuple(fov[:axes])


def _kspace(repetitions: Repetitions) -> Tensor:
    if not bool(repetitions.is_sample.any()):
        raise SequenceError("the sequence has no ADC samples; add an ADC event to its readout")
    kspace = repetitions.kspace()
    # Times do not move the samples: without the gradient the reconstruction is an FFT
    return kspace if repetitions.gradient_moment.requires_grad else kspace.detach()
