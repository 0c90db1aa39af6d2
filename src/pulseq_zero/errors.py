"""The errors of the library: one sentence that names the culprit and the mend."""


class PulseqZeroError(Exception):
    """Base of every error that the library raises on purpose."""


class ConfigError(PulseqZeroError, ValueError):
    """A config or experiment file says something that cannot be meant."""


class PhantomError(PulseqZeroError, ValueError):
    """Phantom data are missing, misshapen or unphysical."""


class SequenceError(PulseqZeroError, ValueError):
    """A sequence function or a sequence cannot be used as it is."""


class UnsupportedFileError(SequenceError):
    """A ``.seq`` file holds what PyPulseq does not read."""


class TracingError(PulseqZeroError, RuntimeError):
    """A traced number met code that it cannot follow."""


class GradientLostError(TracingError):
    """A value lost its gradient on the way, or a parameter reaches nothing."""


class SimulationError(PulseqZeroError, ValueError):
    """The simulation cannot be run, or cannot be differentiated, as asked."""


class OptimizationError(PulseqZeroError, RuntimeError):
    """The optimization cannot start or cannot go on."""


class NotFiniteError(OptimizationError):
    """The loss or its gradient is NaN or infinite."""


class ValidationError(PulseqZeroError, RuntimeError):
    """A result does not stand."""


class StoreError(PulseqZeroError, OSError):
    """A file cannot be read or written."""
