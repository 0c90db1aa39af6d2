"""Whatever can be imaged: phantoms of this package and of MRzeroCore."""

from __future__ import annotations

from typing import TypeAlias

import MRzeroCore as mr0

from pulseq_zero.errors import PhantomError, shown
from pulseq_zero.phantom.phantom import Phantom

Imaged: TypeAlias = (
    Phantom | mr0.SimData | mr0.VoxelGridPhantom | mr0.CustomVoxelPhantom | mr0.TissueDict
)


def data_of(imaged: Imaged) -> mr0.SimData:
    """Return a phantom as the simulation wants it.

    The transmit fields and coil sensitivities of MRzeroCore's phantoms are taken as they are: in
    the sense that `TissuePool` says.

    Parameters
    ----------
    imaged
        A `Phantom`, or MRzeroCore's ``SimData``, ``VoxelGridPhantom``, ``CustomVoxelPhantom`` or
        ``TissueDict``.

    Raises
    ------
    PhantomError
        If it is none of these.
    """
    if isinstance(imaged, Phantom):
        return imaged.simulation_data()
    if isinstance(imaged, mr0.SimData):
        return imaged
    if isinstance(imaged, mr0.VoxelGridPhantom | mr0.CustomVoxelPhantom | mr0.TissueDict):
        return imaged.build()
    raise PhantomError(
        f"the phantom must be a Phantom, or one of MRzeroCore, not {shown(imaged)}; "
        "pulseq_zero.build_phantom makes one"
    )
