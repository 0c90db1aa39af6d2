"""How far the slice of a phantom is simulated."""

from __future__ import annotations

from pulseq_zero.conversion.repetitions import Repetitions
from pulseq_zero.phantom import Phantom
from pulseq_zero.simulation.slices import excited_thickness


def largest_field(phantom: Phantom) -> float:
    """Return the largest transmit field of a phantom, relative to the nominal one."""
    return max(float(pool.B1.sum(0).abs().max()) for pool in phantom.pools.values())


def excited_slice(phantom: Phantom, repetitions: Repetitions) -> Phantom:
    """Return a slice that goes on to both sides as far as played pulses excite.

    Parameters
    ----------
    phantom
        The slice; a volume is what it is.
    repetitions
        The sequence. Pulses that act at once excite nothing beyond.
    """
    if phantom.is_volume:
        return phantom
    density = [(pool.PD.abs().double(), pool.T1) for pool in phantom.pools.values()]
    rate = sum(float((PD / T1).nan_to_num().sum()) for PD, T1 in density)
    T1 = sum(float(PD.sum()) for PD, _ in density) / rate
    thickness = excited_thickness(repetitions, field=largest_field(phantom), T1=T1)
    return phantom.thickened(thickness) if thickness > phantom.slice_thickness else phantom
