"""A PyPulseq sequence that also keeps the traced events of its blocks."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pypulseq
from pypulseq.block_to_events import block_to_events
from pypulseq.utils.tracing import trace_enabled

from pulseq_zero.tracing.arrays import TracedArray, is_traced, raw
from pulseq_zero.tracing.tape import current_tape, is_recording
from pulseq_zero.tracing.twin import NOT_PLAIN, plain_event, twin

_add_block: Callable[..., None] = twin().method(pypulseq.Sequence.add_block)
_set_block: Callable[..., None] = twin().method(pypulseq.Sequence.set_block)
_apply_soft_delay: Callable[..., None] = twin().method(pypulseq.Sequence.apply_soft_delay)

_ARRAYS = {np.ndarray, TracedArray}


@dataclass
class TracedBlock:
    """A block as it was added: its events and its duration [s], traced or not."""

    events: tuple[Any, ...]
    duration: Any


class _OneSequence(type):
    """Lets scripts, and threads that do not trace, find in the class what PyPulseq's own is."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        if cls is TracedSequence and not is_recording():
            return pypulseq.Sequence(*args, **kwargs)
        return super().__call__(*args, **kwargs)

    def __instancecheck__(cls, instance: Any) -> bool:
        if cls is TracedSequence:
            return isinstance(instance, pypulseq.Sequence)
        return super().__instancecheck__(instance)


class TracedSequence(pypulseq.Sequence, metaclass=_OneSequence):
    """A sequence whose libraries hold plain numbers, with the traced blocks beside them.

    Blocks are checked and timed by PyPulseq's own code on the traced events, so that
    PyPulseq raises what it would raise and the durations of the blocks are traced. All that
    reads the libraries (``write``, ``plot``, ``check_timing``...) is PyPulseq's.

    Attributes
    ----------
    tape
        Where the numbers of its events are recorded.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._traced_blocks: dict[int, TracedBlock] = {}
        self.tape = current_tape()
        super().__init__(*args, **kwargs)

    def traced_blocks(self) -> list[TracedBlock]:
        """List the blocks in their order; those that were read from a file are plain."""
        return [
            self._traced_blocks.get(index) or self._read_block(index) for index in self.block_events
        ]

    def add_block(self, *args: Any) -> None:  # noqa: D102
        index = self.next_free_block_ID
        events = tuple(map(_kept, block_to_events(*args)))
        if len(events) == len(args) and all(map(_is_plain, events)) and not trace_enabled():
            super().add_block(*events)
        else:
            _add_block(self, *args)
        self._keep(index, events)

    def set_block(self, block_index: int, *args: Any) -> None:  # noqa: D102
        events = tuple(map(_kept, block_to_events(*args)))
        _set_block(self, block_index, *args)
        self._keep(block_index, events)

    def set_definition(self, key: str, value: Any) -> None:  # noqa: D102
        super().set_definition(key, _plain(value))

    def apply_soft_delay(self, **kwargs: Any) -> None:  # noqa: D102
        _apply_soft_delay(self, **kwargs)
        for index, duration in self.block_durations.items():
            if index in self._traced_blocks and raw(duration) != raw(
                self._traced_blocks[index].duration
            ):
                self._traced_blocks[index].duration = duration
            self.block_durations[index] = raw(duration)

    def mod_grad_axis(self, axis: str, modifier: Any) -> None:  # noqa: D102
        super().mod_grad_axis(axis, raw(modifier))
        for block in self._traced_blocks.values():
            block.events = tuple(_scaled(event, axis, modifier) for event in block.events)

    def flip_grad_axis(self, axis: str) -> None:  # noqa: D102
        self.mod_grad_axis(axis, -1)

    def read(self, *args: Any, **kwargs: Any) -> None:  # noqa: D102
        self._traced_blocks = {}
        super().read(*args, **kwargs)

    def register_rf_event(self, event: Any) -> Any:  # noqa: D102
        return super().register_rf_event(plain_event(event))

    def register_grad_event(self, event: Any) -> Any:  # noqa: D102
        return super().register_grad_event(plain_event(event))

    def register_adc_event(self, event: Any) -> Any:  # noqa: D102
        return super().register_adc_event(plain_event(event))

    def register_label_event(self, event: Any) -> Any:  # noqa: D102
        return super().register_label_event(plain_event(event))

    def _keep(self, index: int, events: tuple[Any, ...]) -> None:
        duration = self.block_durations[index]
        self.block_durations[index] = raw(duration)
        self._traced_blocks[index] = TracedBlock(events, duration)

    def _read_block(self, index: int) -> TracedBlock:
        events = block_to_events(self.get_block(index))
        return TracedBlock(tuple(events), self.block_durations[index])


def _kept(event: Any) -> Any:
    """Copy of an event that later changes of the event, as scripts make them, do not reach."""
    if not isinstance(event, SimpleNamespace):
        return event
    if _ARRAYS.isdisjoint(map(type, vars(event).values())):
        return SimpleNamespace(**vars(event))
    kept = vars(event).copy()
    for name, value in kept.items():
        kind = type(value)
        if kind is np.ndarray:
            kept[name] = value.copy()
        elif kind is TracedArray:
            kept[name] = value.copy() if is_traced(value) else value.values.copy()
    return SimpleNamespace(**kept)


def _is_plain(event: Any) -> bool:
    """Whether the copy of an event may be registered as it is, without a trace being lost."""
    # the number that a soft delay gets when it is registered belongs to the original
    return (
        type(event) is SimpleNamespace
        and NOT_PLAIN.isdisjoint(map(type, vars(event).values()))
        and getattr(event, "type", "soft_delay") != "soft_delay"
    )


def _scaled(event: Any, axis: str, modifier: Any) -> Any:
    if getattr(event, "channel", None) != axis or event.type not in ("trap", "grad"):
        return event
    scaled = copy.copy(event)
    for name in ("amplitude", "waveform", "first", "last", "area", "flat_area"):
        if hasattr(event, name):
            setattr(scaled, name, getattr(event, name) * modifier)
    return scaled


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return raw(value)
