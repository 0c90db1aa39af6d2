"""The judge: spins that follow Bloch's equation, one isochromat at a time.

It says whether a simulated signal is right, and so shares no code with the simulation. It imports
`pulseq_zero.conversion.repetitions`, files and errors, and nothing else of this library.
"""

from typing import TYPE_CHECKING

from pulseq_zero.importing.lazy import lazy_names

if TYPE_CHECKING:
    from pulseq_zero.judge.course import course_of as course_of
    from pulseq_zero.judge.isochromats import Isochromats as Isochromats
    from pulseq_zero.judge.isochromats import converged_isochromats as converged_isochromats
    from pulseq_zero.judge.isochromats import isochromat_signal as isochromat_signal
    from pulseq_zero.judge.seq import read_course as read_course

__getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
