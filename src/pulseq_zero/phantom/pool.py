"""One tissue of a phantom: its maps, and what these must be."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from pulseq_zero.errors import PhantomError, shown


@dataclass(frozen=True)
class TissuePool:
    """One tissue: how much of it each voxel holds, and how it behaves there.

    Values where PD is zero mean nothing. Of a volume, all maps have a further axis z.

    Attributes
    ----------
    PD
        (x, y) proton density times the share of the voxel's volume.
    T1, T2, T2dash
        (x, y) relaxation times [s]; T2dash may be infinite.
    D
        (x, y) diffusion coefficient [1e-3 mm²/s].
    B0
        (x, y) off-resonance [Hz]. Signs are Pulseq's: a pulse and a receiver with a
        ``freq_offset`` of B0 are on resonance; fat is negative.
    B1
        (transmit channels, x, y) complex transmit field relative to the nominal one. Its phase adds
        to that of the pulse: the field is B1 s(t) exp(i(phase_offset + 2π freq_offset t)).
    coil_sensitivity
        (receive channels, x, y) complex sensitivity C: the signal is the sum of C (Mx + iMy).
    """

    PD: Tensor
    T1: Tensor
    T2: Tensor
    T2dash: Tensor
    D: Tensor
    B0: Tensor
    B1: Tensor
    coil_sensitivity: Tensor

    @classmethod
    def of(
        cls,
        PD: Tensor,
        T1: Tensor | float,
        T2: Tensor | float,
        T2dash: Tensor | float = torch.inf,
        D: Tensor | float = 0.0,
        B0: Tensor | float = 0.0,
        B1: Tensor | float = 1.0,
        coil_sensitivity: Tensor | float = 1.0,
    ) -> TissuePool:
        """Make a pool of maps and of numbers that hold everywhere.

        Parameters
        ----------
        PD
            (x, y) proton density.
        T1, T2, T2dash, D, B0
            (x, y) maps or numbers.
        B1, coil_sensitivity
            (channels, x, y) or (x, y) maps, or numbers.

        Raises
        ------
        PhantomError
            If a map of real numbers has an imaginary part.
        """
        PD = real_map("PD", PD)

        def real(name: str, value: Tensor | float) -> Tensor:
            tensor = real_map(name, value)
            if tensor.ndim == 0:
                tensor = tensor.expand(PD.shape)
            return _without_gaps(tensor, PD)

        def channels(value: Tensor | float) -> Tensor:
            tensor = torch.as_tensor(value)
            if tensor.ndim == 0:
                tensor = tensor.expand(PD.shape)
            if tensor.ndim == PD.ndim:
                tensor = tensor[None]
            return _without_gaps(tensor.to(torch.complex64), PD)

        return cls(
            PD=PD,
            T1=real("T1", T1),
            T2=real("T2", T2),
            T2dash=real("T2dash", T2dash),
            D=real("D", D),
            B0=real("B0", B0),
            B1=channels(B1),
            coil_sensitivity=channels(coil_sensitivity),
        )


def real_map(name: str, values: Tensor | float) -> Tensor:
    """Return a map or a number as float32.

    Raises
    ------
    PhantomError
        If it holds no real numbers.
    """
    try:
        tensor = torch.as_tensor(values)
    except (TypeError, ValueError, RuntimeError) as error:
        raise PhantomError(f"{name} is {shown(values)}, but must hold numbers") from error
    if tensor.is_meta or tensor.layout != torch.strided:
        raise PhantomError(f"{name} is a sparse or a meta tensor; give a dense one")
    if tensor.is_complex():
        if (tensor.imag != 0).any():
            raise PhantomError(
                f"{name} is complex, but must hold real numbers; give its real part or magnitude"
            )
        tensor = tensor.real
    return tensor.float()


def _without_gaps(values: Tensor, PD: Tensor) -> Tensor:
    """Replace what is no number by zero where there is no tissue, as maps often have it."""
    if values.shape[-PD.ndim :] != PD.shape:
        return values
    return torch.where((PD == 0) & values.isnan(), torch.zeros((), dtype=values.dtype), values)


def check_pool(tissue: str, pool: TissuePool, matrix: tuple[int, ...]) -> None:
    """Raise an error if a map is misshapen, or unphysical where there is tissue."""
    for each in fields(pool):
        shape = tuple(getattr(pool, each.name).shape)
        per_channel = each.name in ("B1", "coil_sensitivity")
        if not per_channel:
            real_map(f"{each.name} of {tissue!r}", getattr(pool, each.name))
        if shape[1 if per_channel else 0 :] != matrix or len(matrix) not in (2, 3):
            raise PhantomError(
                f"{each.name} of {tissue!r} has shape {shape}, but the PD map has {matrix}; "
                "give all maps on the same grid"
            )
    PD, present = pool.PD, pool.PD > 0
    _refuse(~(PD.isfinite() & (PD >= 0)), tissue, "PD", "negative, infinite or not a number")
    for name in ("T1", "T2", "T2dash"):
        values = getattr(pool, name)
        _refuse(present & ~(values > 0), tissue, name, "not above zero or not a number")
    _refuse(
        present & ~(pool.D.isfinite() & (pool.D >= 0)),
        tissue,
        "D",
        "negative, infinite or not a number",
    )
    for name in ("B0", "B1", "coil_sensitivity"):
        finite = getattr(pool, name).isfinite()
        finite = finite if name == "B0" else finite.all(0)
        _refuse(present & ~finite, tissue, name, "infinite or not a number")


def _refuse(wrong: Tensor, tissue: str, name: str, what: str) -> None:
    if wrong.any():
        first = tuple(wrong.nonzero()[0].tolist())
        axes = ", ".join("xyz"[: len(first)])
        raise PhantomError(
            f"{name} of {tissue!r} is {what} in {int(wrong.sum())} voxels, the first at "
            f"({axes}) = {first}; mend the map or set PD to zero there"
        )
