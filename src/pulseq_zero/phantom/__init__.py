"""Quantified phantoms: tissue pools on a grid, their regions, and where they come from."""

from pulseq_zero.phantom.build import build_phantom
from pulseq_zero.phantom.phantom import MAP_UNITS, Phantom, TissuePool

__all__ = ["MAP_UNITS", "Phantom", "TissuePool", "build_phantom"]
