"""From sequences to `Repetitions`, which is all that simulation and reconstruction know of them.

Imports tracing, files and errors. `pulseq_zero.conversion.repetitions` imports errors only, so
that the layers above take it without PyPulseq.
"""

from typing import TYPE_CHECKING

from pulseq_zero.importing.lazy import lazy_names

if TYPE_CHECKING:
    from pulseq_zero.conversion.model import Conversion as Conversion
    from pulseq_zero.conversion.model import SequenceModel as SequenceModel
    from pulseq_zero.conversion.model import convert as convert
    from pulseq_zero.conversion.repetitions import Repetitions as Repetitions
    from pulseq_zero.conversion.repetitions import repetitions_from_mr0 as repetitions_from_mr0
    from pulseq_zero.conversion.seq_import import imported_repetitions as imported_repetitions

__getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
