"""Where the protocols of NumPy and PyTorch lead from traced numbers and arrays.

Traced numbers are needed to implement the protocols, and have to lead to them: the modules
that implement a protocol enter themselves here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np


class Dispatch:
    """The implementations.

    Attributes
    ----------
    ufunc, function, torch
        What does a universal function, another function of NumPy, a function of PyTorch.
    """

    ufunc: Callable[[np.ufunc, str, tuple[Any, ...], Any], Any]
    function: Callable[[Any, tuple[Any, ...], Any], Any]
    torch: Callable[[Any, tuple[Any, ...], Any], Any]
    from_tensor: Callable[[Any], Any]


dispatch = Dispatch()


class Traced:
    """What traced numbers and arrays have in common: they answer to the protocols."""

    __slots__ = ()

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        return dispatch.ufunc(ufunc, method, inputs, options)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        return dispatch.function(function, args, kwargs)

    @classmethod
    def __torch_function__(
        cls, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        return dispatch.torch(function, args, kwargs or {})
