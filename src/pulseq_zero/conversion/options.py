"""Options of the conversion that the layers above hand on; it imports nothing."""

from typing import Literal

Pulses = Literal["played", "instantaneous"]
"""How pulses act: as what they are in each place, by their samples, the gradients meanwhile, the
transmit field and off-resonance; or as rotations at once, alike in all of a voxel."""
