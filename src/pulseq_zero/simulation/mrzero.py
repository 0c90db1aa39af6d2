"""MRzeroCore's own main pass: the reference, and the way for what ours leaves out.

It lets spins turn by exp(-2πi (k·r + f t)), where Pulseq has the other sense: it is given the
conjugate of everything, see `Repetitions.conjugate`, and its signal is conjugated.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pulseq_zero.conversion.repetitions import Repetitions
from pulseq_zero.simulation.pdg.graph import Thresholds

if TYPE_CHECKING:
    import MRzeroCore as mr0


def has_motion(data: mr0.SimData) -> bool:
    """Tell whether the phantom moves."""
    return data.voxel_motion is not None or data.phantom_motion is not None


def execute_graph(
    graph: mr0.Graph,
    repetitions: Repetitions,
    data: mr0.SimData,
    thresholds: Thresholds,
    initial: Tensor | None = None,
) -> Tensor:
    """Simulate with MRzeroCore, in float32 and on the phantom's device.

    Parameters
    ----------
    graph
        What `compute_graph` returned.
    repetitions
        The sequence.
    data
        The phantom.
    thresholds
        Which states are carried on and measured.
    initial
        (voxels,) magnetisation before the first pulse, or None for full relaxation.

    Returns
    -------
    Tensor
        (samples, coils) complex, differentiable.
    """
    import MRzeroCore as mr0

    sequence = repetitions.to(data.device).to_mr0()
    if not sequence:
        return torch.zeros(0, data.coil_sens.shape[0], dtype=torch.complex64, device=data.device)
    signal = mr0.execute_graph(
        graph,
        sequence,
        conjugate_fields(data),
        min_emitted_signal=thresholds.min_emitted_signal,
        min_latent_signal=thresholds.min_latent_signal,
        print_progress=False,
        intitial_mag=None if initial is None else initial.to(torch.complex64),
    )
    return signal.conj().resolve_conj()


def conjugate_fields(data: mr0.SimData) -> mr0.SimData:
    """Return the same phantom, its transmit fields and coil sensitivities conjugated."""
    turned = copy.copy(data)
    turned.B1, turned.coil_sens = data.B1.conj(), data.coil_sens.conj()
    return turned
