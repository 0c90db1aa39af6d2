"""What the simulation refuses: settings and sequences that cannot be meant."""

from __future__ import annotations

from typing import Any, get_args

import torch

from pulseq_zero.conversion.repetitions import Repetitions
from pulseq_zero.errors import SimulationError, check_number, shown
from pulseq_zero.simulation.pdg.graph import Thresholds
from pulseq_zero.simulation.result import Engine


def check_options(
    accuracy: Any,
    device: torch.device | str,
    dtype: torch.dtype,
    engine: str,
    memory: Any,
    pulse_relaxation: Any,
) -> None:
    """Refuse options of the `Simulator` that are none."""
    check_number("accuracy", accuracy, SimulationError)
    check_number("memory", memory, SimulationError)
    check_number("pulse_relaxation", pulse_relaxation, SimulationError)
    if not pulse_relaxation > 0:
        raise SimulationError(f"pulse_relaxation is {pulse_relaxation}, but must be above 0")
    if not 0 < accuracy < 1:
        raise SimulationError(f"accuracy is {accuracy}, but must lie between 0 and 1")
    if dtype not in (torch.float32, torch.float64):
        raise SimulationError(f"dtype is {dtype}, but must be torch.float32 or torch.float64")
    if engine not in get_args(Engine):
        raise SimulationError(f"engine is {shown(engine)}, but must be one of {get_args(Engine)}")
    if memory < 2**20:
        raise SimulationError(f"memory is {memory} bytes, but at least 1 MiB is needed")
    try:
        kind = torch.device(device).type
    except (RuntimeError, TypeError) as error:
        raise SimulationError(f"device is {shown(device)}, but must be 'cpu' or 'cuda'") from error
    if kind == "cuda" and not torch.cuda.is_available():
        raise SimulationError("device is 'cuda', but torch finds no GPU; use device='cpu'")


def check_parts(data: Any, thresholds: Any, initial: Any, backend: Any) -> None:
    """Refuse what is not of the kind that the `Simulator` takes."""
    if not hasattr(data, "voxel_motion"):
        raise SimulationError(
            f"the phantom must be MRzeroCore's SimData, not {shown(data)}; "
            "Phantom.simulation_data() makes it of a Phantom"
        )
    if not isinstance(thresholds, Thresholds | None):
        raise SimulationError(f"thresholds is {shown(thresholds)}, but must be Thresholds")
    if backend is not None and not hasattr(backend, "bytes_per_voxel"):
        raise SimulationError(f"backend is {shown(backend)}, but must be a Backend")
    if initial is not None and getattr(initial, "shape", None) != data.PD.shape:
        raise SimulationError(
            f"initial is {shown(initial)}, but must be a tensor with a number for each of the "
            f"{data.PD.numel()} voxels"
        )


def check_repetitions(repetitions: Any) -> None:
    """Refuse what is not the simulation's form of a sequence."""
    if not isinstance(repetitions, Repetitions):
        raise SimulationError(
            f"the sequence must be Repetitions, not {shown(repetitions)}; pulseq_zero.convert "
            "makes them of a pypulseq.Sequence"
        )


def check_sequence(repetitions: Repetitions) -> None:
    """Refuse a sequence with numbers that are none, or that goes back in time."""
    names = ("pulse_angle", "pulse_phase", "event_time", "gradient_moment", "adc_phase", "shim")
    for name in names:
        values = getattr(repetitions, name)
        if values is not None and not bool(values.detach().isfinite().all()):
            raise SimulationError(f"the sequence's {name} holds values that are not finite")
    if bool((repetitions.event_time < 0).any()):
        raise SimulationError("the sequence holds events of negative duration")
