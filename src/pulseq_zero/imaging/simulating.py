"""One call from a sequence, whatever it is given as, to its image."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pypulseq

from pulseq_zero.conversion.costs import SequenceCost
from pulseq_zero.conversion.model import Conversion
from pulseq_zero.conversion.options import Pulses
from pulseq_zero.conversion.repetitions import Repetitions
from pulseq_zero.conversion.seq_import import import_without_pypulseq
from pulseq_zero.errors import (
    SequenceError,
    SimulationError,
    UnsupportedFileError,
    check_function,
    check_grid,
)
from pulseq_zero.files.seq import read_definitions, read_seq
from pulseq_zero.imaging.acquisition import (
    Acquisition,
    ReconstructionFunction,
    acquire,
    defined_fov,
)
from pulseq_zero.imaging.slices import excited_slice
from pulseq_zero.phantom import Phantom, build_phantom
from pulseq_zero.phantom.imaged import Imaged, data_of
from pulseq_zero.simulation.accuracy import DEFAULT_ACCURACY
from pulseq_zero.simulation.simulator import made_simulator


def simulate(
    sequence: Path | str | pypulseq.Sequence | Repetitions,
    phantom: Imaged | None = None,
    *,
    matrix: tuple[int, ...] | None = None,
    fov: tuple[float, ...] | None = None,
    reconstruction: ReconstructionFunction | None = None,
    accuracy: float = DEFAULT_ACCURACY,
    pulses: Pulses = "played",
    system: pypulseq.Opts | None = None,
    simulation: Mapping[str, Any] | None = None,
) -> Acquisition:
    """Simulate and reconstruct a sequence, once.

    To simulate for many values of parameters, keep an `ImagingModel`.

    Parameters
    ----------
    sequence
        A ``.seq`` file, a sequence, or repetitions. What of files PyPulseq does not understand is
        left to MRzeroCore's importer, with a warning. What was made inside of ``with tracing():``
        has an image that is differentiable by the tensors that the script used.
    phantom
        What is imaged; by default the embedded brain. Where pulses are played, a `Phantom` of one
        slice goes on to both sides as far as they excite.
    matrix, fov, reconstruction
        Pixels and field of view [m] of the image, and what makes it, see `ImagingModel`. Where
        the sequence does not state its field of view, it is that of a `Phantom`, with a warning.
    accuracy
        Accuracy of the simulation, see `pulseq_zero.Simulator`.
    pulses
        How pulses act, see `SequenceModel`. Repetitions are taken as they are.
    system
        Of a file, see `pulseq_zero.files.seq.read_seq`: what it was made for.
    simulation
        Further settings of the `Simulator`, such as ``device`` or ``engine``.

    Returns
    -------
    Acquisition
        Image, signal, k-space, and what they were made of.

    Raises
    ------
    SequenceError
        If the sequence cannot be read or converted, or states no field of view and the phantom's is
        not known; where the image is
        asked for, if the sequence has no ADC samples, or samples more than one image.
    """
    check_grid(matrix, fov, SimulationError)
    check_function("reconstruction", reconstruction, SimulationError)
    if system is not None and not isinstance(sequence, (str, Path)):
        raise SequenceError("a system is of a file; a sequence in Python has its own, system=")
    definitions: Mapping[str, Any] = {}
    if isinstance(sequence, (str, Path)):
        try:
            sequence = read_seq(sequence, system=system)
        except UnsupportedFileError as error:
            definitions = read_definitions(sequence)
            sequence = import_without_pypulseq(sequence, error)
    elif isinstance(sequence, Repetitions) and fov is None:
        raise SequenceError("repetitions state no field of view; give it as fov=(x, y) in m")
    if isinstance(sequence, Repetitions):
        repetitions, cost = sequence, None
    else:
        conversion = Conversion(sequence, pulses=pulses)
        sources = conversion.program.sources
        repetitions, cost = conversion(sources), partial(_cost, conversion)
        definitions = sequence.definitions
    imaged = build_phantom({}) if phantom is None else phantom
    fov = fov or _field_of_view(definitions, imaged, len(matrix or (0, 0)))
    if isinstance(imaged, Phantom):
        imaged = excited_slice(imaged, repetitions)
    simulator = made_simulator(data_of(imaged), accuracy, simulation)
    return acquire(
        repetitions,
        simulator,
        matrix=matrix,
        fov=fov,
        sequence_cost=cost,
        own_reconstruction=reconstruction,
    )


def _cost(conversion: Conversion) -> SequenceCost:
    return conversion.cost(conversion.program.sources)


def _field_of_view(definitions: Mapping[str, Any], imaged: Imaged, axes: int) -> tuple[float, ...]:
    """Field of view [m] that is defined, or else what the phantom extends over."""
    if "FOV" not in definitions and isinstance(imaged, Phantom) and len(imaged.extent) >= axes:
        fov = imaged.extent[:axes]
        lengths = " x ".join(f"{1e3 * length:g}" for length in fov)
        warnings.warn(
            f"the sequence states no field of view: that of the phantom, {lengths} mm, is taken; "
            "give another as fov=, or as --fov to the command",
            stacklevel=3,
        )
        return fov
    stated = pypulseq.Sequence()
    stated.definitions = dict(definitions)
    return defined_fov(stated, axes)
