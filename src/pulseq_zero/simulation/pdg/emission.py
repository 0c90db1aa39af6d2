"""What measured states emit, in plain torch: phase and decay up to their anchors."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from pulseq_zero.simulation.pdg.backend import Adjoint, Drive, Wanted
from pulseq_zero.simulation.pdg.encoding import turns_to_complex
from pulseq_zero.simulation.pdg.plan import Plan
from pulseq_zero.simulation.pdg.voxels import Voxels


def emission(plan: Plan, drive: Drive, voxels: Voxels) -> Tensor:
    """Return (items, voxels) phase and decay of the items' states up to their anchors.

    The phase is seen from the frame of the pulse before, that of the scanner where pulses are
    played.
    """
    repetition, shim = _repetition_and_shim(plan, drive)
    k = drive.k_anchor.to(voxels.R1.dtype)
    turns = k[:, :3] @ voxels.position
    turns.addcmul_(k[:, 3:], voxels.B0)
    frame = voxels.B1_phase[shim].add_(drive.phase[repetition, None])
    turns.add_(frame, alpha=0.5 / math.pi)
    del frame
    sign = torch.from_numpy(plan.item_sign).to(k)
    weights = torch.stack([drive.t_anchor, sign * k[:, 3], drive.b_anchor], 1)
    exponent = weights @ torch.stack([voxels.R2, voxels.R2dash, voxels.D])
    return turns_to_complex(turns, exponent.neg_().exp_())


def emission_gradients(
    plan: Plan, drive: Drive, voxels: Voxels, slope: Tensor, wanted: Wanted, result: Adjoint
) -> None:
    """Add the gradients of phases, positions, times and maps: slope is γ times what is emitted."""
    turning, growing = slope.imag.contiguous(), slope.real.contiguous()
    repetition, shim = _repetition_and_shim(plan, drive)
    result.phase.index_add_(0, repetition, turning.sum(1).double(), alpha=-1)
    if not (wanted.timing or wanted.maps):
        return
    sign = torch.from_numpy(plan.item_sign).to(growing)
    along = torch.cat([voxels.position, voxels.B0[None]])
    result.k_anchor -= 2 * math.pi * (turning @ along.T).double()
    result.k_anchor[:, 3] -= sign * (growing @ voxels.R2dash)
    result.t_anchor -= growing @ voxels.R2
    result.b_anchor -= growing @ voxels.D
    if wanted.maps:
        k = drive.k_anchor.to(growing.dtype)
        tau = k[:, 3]
        result.maps["B1_phase"].index_add_(0, shim, turning, alpha=-1)
        result.maps["B0"] -= 2 * math.pi * (tau @ turning)
        result.maps["position"] -= 2 * math.pi * (k[:, :3].T @ turning)
        result.maps["R2"] -= drive.t_anchor @ growing
        result.maps["R2dash"] -= (sign * tau) @ growing
        result.maps["D"] -= drive.b_anchor @ growing


def _repetition_and_shim(plan: Plan, drive: Drive) -> tuple[Tensor, Tensor]:
    """Return the repetitions of the items and the numbers of their shims."""
    repetition = plan.graph.repetition[plan.items.state.numpy()]
    shim = np.array(drive.shim, dtype=np.int64)[repetition]
    return (
        torch.from_numpy(repetition).to(drive.angle.device),
        torch.from_numpy(shim).to(drive.angle.device),
    )
