"""Equal work on equal numbers from equal sources is done once: most blocks resemble others."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

from pulseq_zero.tracing import TracedArray, TracedNumber

_PLAIN = {float, int, bool, str, type(None), np.float64}


class Once:
    """Calls functions, or remembers what they returned for equal arguments.

    Arguments are equal if their numbers are and if these have been computed alike. What is
    not known well enough to tell is equal to itself only.
    """

    def __init__(self) -> None:
        self._known: dict[Any, Any] = {}
        self._shared: set[int] = set()
        self._kept: list[Any] = []

    def __call__(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call a function whose result is not going to be changed."""
        key = function, self._key(args), self._key(tuple(kwargs.items()))
        if key not in self._known:
            self._known[key] = function(*args, **kwargs)
        return self._known[key]

    def shared(self, value: Any) -> Any:
        """Return the first value that was equal; long arrays in it are compared no more."""
        first = self._known.setdefault(("shared", self._key(value)), value)
        self._shared.add(id(first))
        return first

    def _key(self, value: Any) -> Any:
        kind = type(value)
        if kind in _PLAIN:
            return value
        if kind is TracedNumber:
            return kind, value.value, value.wire
        if kind is SimpleNamespace:
            if id(value) in self._shared:
                return kind, id(value)
            return tuple(vars(value)), *map(self._key, vars(value).values())
        if kind is tuple or kind is list:
            return tuple(map(self._key, value))
        if kind is np.ndarray:
            return kind, value.dtype.str, value.tobytes()
        if kind is TracedArray:
            return kind, value.values.tobytes(), value.span or value.wires.tobytes()
        # An id holds as long as the object lives.
        self._kept.append(value)
        return id(value)
