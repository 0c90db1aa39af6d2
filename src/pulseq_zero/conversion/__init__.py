"""From traced PyPulseq blocks to the repetitions that are simulated."""

from pulseq_zero.conversion.model import Conversion, SequenceModel, convert

__all__ = ["Conversion", "SequenceModel", "convert"]
