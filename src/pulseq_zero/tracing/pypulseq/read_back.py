"""What a script reads back from a sequence: traced; what PyPulseq's own methods read: plain.

A sequence's libraries hold plain numbers. A script that asks for a block or its duration must
get numbers that remember what they were computed from, or be told that it does not.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import (
    ItemsView,
    Iterable,
    Iterator,
    Mapping,
    MutableMapping,
    ValuesView,
)
from types import FunctionType, SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulseq_zero.tracing.numpy.arrays import is_traced, raw, wires_dtype, wires_of, wrap
from pulseq_zero.tracing.numpy.scalars import TracedNumber
from pulseq_zero.tracing.pypulseq.callers import caller
from pulseq_zero.tracing.pypulseq.twin import twin
from pulseq_zero.tracing.tape.gradient_loss import report_loss
from pulseq_zero.tracing.tape.recording import is_recording


@functools.cache
def _plain_namespaces() -> frozenset[int]:
    return frozenset(id(vars(sys.modules[name])) for name in twin().modules)


def read_by_script() -> bool:
    """Whether a traced script reads, or a twin: not PyPulseq's own code, nor any outside."""
    return is_recording() and id(caller(sys._getframe(1)).f_globals) not in _plain_namespaces()


class Followed:
    """A method of a sequence that is traced for scripts and plain for PyPulseq's own methods."""

    def __init__(self, method: FunctionType) -> None:
        self._plain, self._traced = method, twin().method(method)

    def __get__(self, sequence: Any, owner: type) -> Any:
        method = self._traced if read_by_script() else self._plain
        return method.__get__(sequence, owner)


class Losing:
    """A method of a sequence that reads plain numbers: to use its result loses gradients."""

    def __init__(self, method: FunctionType) -> None:
        self._method = method

    def __get__(self, sequence: Any, owner: type) -> Any:
        if sequence is not None and read_by_script() and sequence.depends_on_parameters():
            report_loss(
                f"{self._method.__name__}()",
                "if you compute with its result, take the events' own numbers instead",
            )
        return self._method.__get__(sequence, owner)


class Durations(MutableMapping[int, Any]):
    """Durations of blocks [s] by their number, traced for scripts and plain for all others.

    Attributes
    ----------
    traced
        The durations as they were computed.
    """

    def __init__(self, durations: Mapping[int, Any]) -> None:
        self.traced = dict(durations)
        self._plain = {index: raw(duration) for index, duration in durations.items()}

    def _shown(self) -> dict[int, Any]:
        return self.traced if read_by_script() else self._plain

    def __getitem__(self, index: int) -> Any:
        return self._shown()[index]

    def values(self) -> ValuesView[Any]:
        """Durations [s] in the order of the blocks."""
        return self._shown().values()

    def items(self) -> ItemsView[int, Any]:
        """Numbers of blocks and their durations [s]."""
        return self._shown().items()

    def __setitem__(self, index: int, duration: Any) -> None:
        self.traced[index] = duration
        self._plain[index] = raw(duration)

    def __delitem__(self, index: int) -> None:
        del self.traced[index], self._plain[index]

    def __iter__(self) -> Iterator[int]:
        return iter(self._plain)

    def __len__(self) -> int:
        return len(self._plain)

    def __repr__(self) -> str:
        return repr(self._plain)


def traced_content(block: SimpleNamespace, events: Iterable[Any], duration: Any) -> SimpleNamespace:
    """Give a block of a sequence the wires of the events that it was made of.

    Parameters
    ----------
    block
        As PyPulseq makes it of the sequence's libraries. It is not changed.
    events
        What was added as this block.
    duration
        Of the block [s].
    """
    events = [event for event in events if _has_traced_numbers(event)]
    if not events and not is_traced(duration):
        return block
    traced = SimpleNamespace(**vars(block))
    traced.block_duration = duration
    for event in events:
        name = f"g{event.channel}" if event.type in ("trap", "grad") else event.type
        plain = getattr(block, name, None)
        if isinstance(plain, SimpleNamespace):
            setattr(traced, name, _with_wires(plain, event))
    return traced


def depends_on_parameters(events: Iterable[Iterable[Any]], durations: Durations) -> bool:
    """Whether a number of the events of some blocks, or a duration of a block, is traced."""
    return any(map(is_traced, durations.traced.values())) or any(
        _has_traced_numbers(event) for block in events for event in block
    )


def _has_traced_numbers(event: Any) -> bool:
    return isinstance(event, SimpleNamespace) and any(map(is_traced, vars(event).values()))


def _with_wires(plain: SimpleNamespace, event: SimpleNamespace) -> SimpleNamespace:
    """Copy of an event with the wires that the numbers of the same name have in another."""
    made = SimpleNamespace(**vars(plain))
    for name, value in vars(event).items():
        if not is_traced(value) or not hasattr(plain, name):
            continue
        number = raw(getattr(plain, name))
        if type(value) is TracedNumber:
            setattr(made, name, TracedNumber(number, value.wire))
        elif np.shape(number) == np.shape(value):
            wires: NDArray[Any] = np.asarray(wires_of(value))
            setattr(made, name, wrap(number, wires.astype(wires_dtype(number))))
    return made
