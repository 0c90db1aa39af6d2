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

from pulseq_zero.tracing.numpy.arrays import TracedArray, is_traced, raw
from pulseq_zero.tracing.numpy.stand_in import refuse_change
from pulseq_zero.tracing.pypulseq.read_back import (
    Durations,
    Followed,
    Losing,
    depends_on_parameters,
    read_by_script,
    traced_content,
)
from pulseq_zero.tracing.pypulseq.twin import NOT_PLAIN, plain_event, twin
from pulseq_zero.tracing.tape.gradient_loss import report_loss
from pulseq_zero.tracing.tape.recording import current_tape, is_recording
from pulseq_zero.tracing.tape.tape import Tape

_add_block: Callable[..., None] = twin().method(pypulseq.Sequence.add_block)
_set_block: Callable[..., None] = twin().method(pypulseq.Sequence.set_block)

_ARRAYS = {np.ndarray, TracedArray}

# Methods that compute what scripts may compute with: in ways that can be followed, and others.
_FOLLOWED = ("adc_times", "apply_soft_delay", "duration", "find_block_by_time", "rf_times")
_LOSING = (
    "calculate_gradient_spectrum", "calculate_kspace", "calculate_kspacePP", "calculate_pns",
    "get_gradients", "waveforms", "waveforms_and_times",
)  # fmt: skip


@dataclass(frozen=True)
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

    def __setattr__(cls, name: str, value: Any) -> None:
        refuse_change(pypulseq.Sequence.__name__, name)

    def __delattr__(cls, name: str) -> None:
        refuse_change(pypulseq.Sequence.__name__, name)


class TracedSequence(pypulseq.Sequence, metaclass=_OneSequence):
    """A sequence whose libraries hold plain numbers, with the traced events beside them.

    Blocks are checked and timed by PyPulseq's own code on the traced events, so that
    PyPulseq raises what it would raise and the durations of the blocks are traced. All that
    reads the libraries (``write``, ``plot``, ``check_timing``...) is PyPulseq's, and sees plain
    numbers. A script that asks for blocks, durations or times gets traced ones.

    Attributes
    ----------
    tape
        Where the numbers of its events are recorded.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._traced_events: dict[int, tuple[Any, ...]] = {}
        self.tape = current_tape()
        super().__init__(*args, **kwargs)

    def __copy__(self) -> TracedSequence:
        made: TracedSequence = type(self).__new__(type(self))
        made.__dict__.update(self.__dict__)
        return made

    def __deepcopy__(self, memo: dict[int, Any]) -> TracedSequence:
        made: TracedSequence = type(self).__new__(type(self))
        # events that are kept do not change
        shared = {"tape": self.tape, "_traced_events": dict(self._traced_events)}
        own = {name: value for name, value in vars(self).items() if name not in shared}
        made.__dict__.update(copy.deepcopy(own, memo), **shared)
        return made

    def __reduce__(self) -> Any:
        if self.depends_on_parameters():
            report_loss("pickling", "store the parameters and run the function again instead")
        names = set(vars(self)) - {"tape", "_traced_events", "_durations"}
        state = {name: getattr(self, name) for name in names}
        durations = dict(zip(self._durations, map(raw, self._durations.values()), strict=True))
        return (
            pypulseq.Sequence.__new__,
            (pypulseq.Sequence,),
            {
                **state,
                "block_durations": durations,
            },
        )

    @classmethod
    def of_plain(cls, sequence: pypulseq.Sequence) -> TracedSequence:
        """Take a sequence that was made or read outside of tracing, whose numbers are constants."""
        made: TracedSequence = cls.__new__(cls)
        own = dict(vars(sequence))
        durations = own.pop("block_durations")
        made.__dict__.update(own, tape=Tape(), _traced_events={})
        made.block_durations = durations
        return made

    @property
    def block_durations(self) -> Durations:
        """Durations of the blocks [s], by their number."""
        return self._durations

    @block_durations.setter
    def block_durations(self, durations: Any) -> None:
        self._durations = Durations(durations)

    def traced_blocks(self) -> list[TracedBlock]:
        """List the blocks in their order; those that were read from a file are plain."""
        return [
            TracedBlock(
                self._traced_events.get(index) or self._read_block(index),
                self._durations.traced[index],
            )
            for index in self.block_events
        ]

    def add_block(self, *args: Any) -> None:  # noqa: D102
        index = self.next_free_block_ID
        events = tuple(map(_kept, block_to_events(*args)))
        if len(events) == len(args) and all(map(_is_plain, events)) and not trace_enabled():
            super().add_block(*events)
        else:
            _add_block(self, *args)
        self._traced_events[index] = events

    def set_block(self, block_index: int, *args: Any) -> None:  # noqa: D102
        events = tuple(map(_kept, block_to_events(*args)))
        _set_block(self, block_index, *args)
        self._traced_events[block_index] = events

    def get_block(self, block_index: int) -> SimpleNamespace:  # noqa: D102
        block = super().get_block(block_index)
        if not read_by_script():
            return block
        events = self._traced_events.get(block_index, ())
        return traced_content(block, events, self.block_durations[block_index])

    def _read_block(self, index: int) -> tuple[Any, ...]:
        return tuple(block_to_events(super().get_block(index)))

    def set_definition(self, key: str, value: Any) -> None:  # noqa: D102
        super().set_definition(key, _plain(value))

    def mod_grad_axis(self, axis: str, modifier: Any) -> None:  # noqa: D102
        super().mod_grad_axis(axis, raw(modifier))
        for index, events in self._traced_events.items():
            self._traced_events[index] = tuple(_scaled(event, axis, modifier) for event in events)

    def flip_grad_axis(self, axis: str) -> None:  # noqa: D102
        self.mod_grad_axis(axis, -1)

    def read(self, *args: Any, **kwargs: Any) -> None:  # noqa: D102
        self._traced_events = {}
        super().read(*args, **kwargs)

    def register_rf_event(self, event: Any) -> Any:  # noqa: D102
        return super().register_rf_event(plain_event(event))

    def register_grad_event(self, event: Any) -> Any:  # noqa: D102
        return super().register_grad_event(plain_event(event))

    def register_adc_event(self, event: Any) -> Any:  # noqa: D102
        return super().register_adc_event(plain_event(event))

    def register_label_event(self, event: Any) -> Any:  # noqa: D102
        return super().register_label_event(plain_event(event))

    def depends_on_parameters(self) -> bool:
        """Whether a number of an event, or how long a block takes, depends on a parameter."""
        return depends_on_parameters(self._traced_events.values(), self._durations)


for _name in _FOLLOWED:
    type.__setattr__(TracedSequence, _name, Followed(getattr(pypulseq.Sequence, _name)))
for _name in _LOSING:
    type.__setattr__(TracedSequence, _name, Losing(getattr(pypulseq.Sequence, _name)))


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
