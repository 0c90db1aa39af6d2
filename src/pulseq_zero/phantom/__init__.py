"""Quantified phantoms: tissue pools on a grid, their regions, and where they come from.

Imports files and errors.
"""

from typing import TYPE_CHECKING

from pulseq_zero.importing.lazy import lazy_names

if TYPE_CHECKING:
    from pulseq_zero.phantom.build import build_phantom as build_phantom
    from pulseq_zero.phantom.phantom import MAP_UNITS as MAP_UNITS
    from pulseq_zero.phantom.phantom import Phantom as Phantom
    from pulseq_zero.phantom.pool import TissuePool as TissuePool

__getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
