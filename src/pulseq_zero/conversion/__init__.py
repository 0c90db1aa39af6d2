"""From traced PyPulseq blocks to the repetitions that are simulated."""

from typing import TYPE_CHECKING

from pulseq_zero.lazy import lazy_names

if TYPE_CHECKING:
    from pulseq_zero.conversion.model import Conversion as Conversion
    from pulseq_zero.conversion.model import SequenceModel as SequenceModel
    from pulseq_zero.conversion.model import convert as convert

__getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
