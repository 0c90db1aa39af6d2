"""What happens when a number loses its gradient: never nothing."""

from __future__ import annotations

import warnings

from pulseq_zero.errors import GradientLostError
from pulseq_zero.tracing.tape.frames import place
from pulseq_zero.tracing.tape.recording import any_recorded


class GradientLossWarning(UserWarning):
    """A value was read out of a traced number: what is made of it has no gradient."""


def report_loss(action: str, mend: str) -> None:
    """Warn, or raise, because a traced number is about to become a plain one.

    Parameters
    ----------
    action
        What is being done to the number.
    mend
        What to do instead.

    Raises
    ------
    GradientLostError
        If the tape was asked to raise.
    """
    tape = any_recorded()
    if tape is None:
        return
    where = place()
    message = f"{action} drops the gradient at {where}; {mend}"
    if tape.on_loss == "raise":
        raise GradientLostError(message)
    warnings.warn_explicit(message, GradientLossWarning, where.code.co_filename, where.line)


def written(text: str) -> str:
    """Remember the text that a traced number is written as."""
    tape = any_recorded()
    if tape is not None:
        tape.texts.add(text)
    return text


def report_reading(text: str) -> None:
    """Warn, or raise, if a number is read from the text that a traced number was written as."""
    tape = any_recorded()
    if tape is not None and text in tape.texts:
        report_loss("reading a number from its text", "use np.round(x, digits) to round it")
