"""From parameters to an image: the sequence function, the simulation and the reconstruction."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import pypulseq
import torch
from torch import Tensor

from pulseq_zero.conversion import SequenceModel
from pulseq_zero.conversion.model import as_tensors
from pulseq_zero.conversion.options import Pulses
from pulseq_zero.conversion.rasters import warn_of_unrounded
from pulseq_zero.conversion.repetitions import PulseUse, Repetitions
from pulseq_zero.errors import SimulationError, check_function, check_grid, check_mapping
from pulseq_zero.files.loading import check_arguments
from pulseq_zero.imaging.acquisition import (
    Acquisition,
    ReconstructionFunction,
    acquire,
    defined_fov,
)
from pulseq_zero.imaging.slices import excited_slice
from pulseq_zero.phantom import Phantom
from pulseq_zero.phantom.imaged import Imaged, data_of
from pulseq_zero.simulation.accuracy import DEFAULT_ACCURACY
from pulseq_zero.simulation.simulator import made_simulator
from pulseq_zero.simulation.slices import strengths

# By so much more is a slice thickened than pulses excite that change their shape: they will again.
_MARGIN = 1.1

SequenceFunction = Callable[..., pypulseq.Sequence]


class ImagingModel:
    """A function from sequence parameters to the image that the scanner would give.

    The sequence function is run once and replayed afterwards; graph, plan and encoding
    matrices of the simulation are kept from call to call.

    Parameters
    ----------
    sequence_function
        A plain PyPulseq function that returns its ``Sequence``.
    phantom
        What is imaged: a `Phantom`, or one of MRzeroCore's.
    arguments
        Further arguments of the sequence function, constant from call to call.
    matrix
        Pixels of the image in x and y; by default as many as the k-space samples resolve.
    fov
        Field of view in x and y [m]; by default the sequence's definition ``FOV``. With three
        numbers in matrix or field of view, the image is a volume.
    reconstruction
        Makes the image of the `Acquisition`, whose own image is that of the adjoint: a function or
        a `torch.nn.Module`; by default the adjoint is the image.
    accuracy
        Accuracy of the simulation, see `pulseq_zero.simulation.simulate`.
    pulses
        How pulses act, see `SequenceModel`. Where they are played, a `Phantom` of one slice goes on
        to both sides as far as they excite.
    simulation
        Further settings of the `Simulator`, such as ``device`` or ``engine``.
    """

    def __init__(
        self,
        sequence_function: SequenceFunction,
        phantom: Imaged,
        *,
        arguments: Mapping[str, Any] | None = None,
        matrix: tuple[int, ...] | None = None,
        fov: tuple[float, ...] | None = None,
        reconstruction: ReconstructionFunction | None = None,
        accuracy: float = DEFAULT_ACCURACY,
        pulses: Pulses = "played",
        simulation: Mapping[str, Any] | None = None,
    ) -> None:
        self._function, self._phantom = sequence_function, phantom
        self._settings: dict[str, Any] = {
            "arguments": arguments,
            "matrix": matrix,
            "fov": fov,
            "reconstruction": reconstruction,
            "pulses": pulses,
        }
        check_arguments(sequence_function, [])
        if arguments is not None:
            check_mapping("arguments", arguments, SimulationError)
        check_grid(matrix, fov, SimulationError)
        check_function("reconstruction", reconstruction, SimulationError)
        data = data_of(phantom)
        self.sequence_model = SequenceModel(
            sequence_function, arguments=dict(arguments or {}), pulses=pulses
        )
        self._simulation = simulation
        self.simulator = made_simulator(data, accuracy, simulation)
        is_slice = isinstance(phantom, Phantom) and not phantom.is_volume
        self._slice = phantom if is_slice and pulses == "played" else None
        self._thickness = 0.0 if self._slice is None else self._slice.slice_thickness
        # What the slice was found to be excited by: angles at most, and the pulses' shapes.
        self._excited: tuple[Tensor, list[Tensor]] | None = None
        self._matrix, self._fov = matrix, fov
        self._reconstruction = reconstruction
        self._uses: tuple[PulseUse, ...] = ()
        # What the graph that the simulator keeps was made of, and how to come by it again.
        self._graph: tuple[Repetitions | None, dict[str, Any]] = (None, {})

    def use_accuracy(self, accuracy: float) -> None:
        """Simulate at another accuracy from now on."""
        self.simulator = made_simulator(self.simulator.data, accuracy, self._simulation)

    def on(self, phantom: Imaged) -> ImagingModel:
        """Return the model of the same sequence on another phantom, which shares its trace."""
        other = ImagingModel(
            self._function,
            phantom,
            accuracy=self.simulator.accuracy,
            simulation=self._simulation,
            **self._settings,
        )
        other.sequence_model = self.sequence_model
        return other

    def __call__(self, parameters: Mapping[str, Any]) -> Acquisition:
        """Simulate the sequence at these parameters: tensors, arrays or numbers by name."""
        parameters = as_tensors(parameters)
        repetitions = self.sequence_model(parameters)
        if not self._uses:
            warn_of_unrounded(self.sequence_model.sequence, parameters)
        self._warn_of_other_uses(repetitions)
        self._reach_as_far_as_excited(repetitions)
        fov = self._fov or defined_fov(self.sequence_model.sequence, len(self._matrix or (0, 0)))
        conversion = self.sequence_model.conversion
        acquisition = acquire(
            repetitions,
            self.simulator,
            matrix=self._matrix,
            fov=fov,
            sequence_cost=lambda: conversion.cost(parameters),
            own_reconstruction=self._reconstruction,
            phantom=self._phantom,
        )
        self._remember_graph(parameters)
        return acquisition

    @property
    def memory(self) -> dict[str, Any]:
        """What the images to come depend on beside their parameters: tensors and plain values."""
        made_of, origin = self._graph
        kept = made_of is not None and self.simulator.graph_made_of is made_of
        return {
            "traced_at": self.sequence_model.traced_at,
            "thickness": self._thickness,
            "graph": origin if kept else None,
        }

    def recall(self, memory: Mapping[str, Any]) -> None:
        """Take up the memory of a model of the same function, phantom and accuracy."""
        self._thicken(memory["thickness"])
        origin = memory["graph"]
        if origin is not None:
            self.sequence_model.trace_again([origin["traced_at"]])
            parameters = {n: v.clone().requires_grad_() for n, v in origin["parameters"].items()}
            self.simulator.graph(self.sequence_model(parameters))
            self._remember_graph(parameters)
        self.sequence_model.trace_again(memory["traced_at"])

    def _remember_graph(self, parameters: Mapping[str, Tensor]) -> None:
        made_of = self.simulator.graph_made_of
        if made_of is not self._graph[0]:
            values = {name: value.detach().clone() for name, value in parameters.items()}
            origin = {"traced_at": self.sequence_model.traced_at[-1], "parameters": values}
            self._graph = (made_of, origin)

    def _reach_as_far_as_excited(self, repetitions: Repetitions) -> None:
        """Let the slice go on to both sides, where played pulses excite beyond it."""
        played, known, margin = repetitions.played, self._excited, 1.0
        if self._slice is None or played is None:
            return
        # The shapes of others stay as they are
        shaped = ~torch.tensor(played.scaled)[played.pulse_of_step]
        angle = strengths(repetitions)
        shapes = [played.moment.detach(), played.signal.detach()[shaped]]
        if known is not None:
            # A sequence traced anew may have other pulses
            if len(angle) == len(known[0]):
                angle = angle.maximum(known[0])
            if not all(map(torch.equal, shapes, known[1])):
                margin = _MARGIN
            elif torch.equal(angle, known[0]):
                return
        self._excited = angle, shapes
        reach = excited_slice(self._slice, repetitions).slice_thickness
        if reach > self._thickness:
            self._thicken(margin * reach)

    def _thicken(self, thickness: float) -> None:
        """Let the slice be at least as thick."""
        if self._slice is not None and thickness > self._thickness:
            self._thickness = thickness
            data, accuracy = (
                self._slice.thickened(thickness).simulation_data(),
                self.simulator.accuracy,
            )
            self.simulator = made_simulator(data, accuracy, self._simulation)

    def _warn_of_other_uses(self, repetitions: Repetitions) -> None:
        uses = repetitions.known_uses()
        if not self._uses:
            guessed = [
                number
                for number, use in enumerate(repetitions.pulse_use)
                if use == "undefined" and uses[number] == "excitation"
            ]
            if guessed:
                warnings.warn(
                    f"{len(guessed)} of {len(uses)} pulses, the first being pulse {guessed[0]}, "
                    "have no use and turn by less than 100 degrees: they count as excitations, "
                    "which begin k-space anew; where they refocus, store or prepare, say so, as "
                    "in make_sinc_pulse(..., use='refocusing')",
                    stacklevel=3,
                )
        if len(uses) == len(self._uses):
            changed = [
                number
                for number, use in enumerate(repetitions.pulse_use)
                if use == "undefined" and uses[number] != self._uses[number]
            ]
            if changed:
                warnings.warn(
                    f"pulse {changed[0]} has no use and has crossed 100 degrees: it counts as "
                    f"{uses[changed[0]]} now, and the image jumps; give it a use, as in "
                    "make_sinc_pulse(..., use='excitation'), or bound its angle",
                    stacklevel=3,
                )
        self._uses = uses
