"""Modules that traced code sees in place of others."""

from __future__ import annotations

from types import ModuleType
from typing import Any, NoReturn

from pulseq_zero.errors import TracingError


class StandIn(ModuleType):
    """A module that stands in for another, and cannot be changed: it serves all that is traced."""

    def __init__(self, module: ModuleType, names: dict[str, Any] | None = None) -> None:
        super().__init__(module.__name__, module.__doc__)
        vars(self).update(names or {})

    def __setattr__(self, name: str, value: Any) -> None:
        refuse_change(self.__name__, name)

    def __delattr__(self, name: str) -> None:
        refuse_change(self.__name__, name)


def refuse_change(owner: str, name: str) -> NoReturn:
    """Say that a name of what stands in for something else cannot be changed.

    Raises
    ------
    TracingError
        Always.
    """
    raise TracingError(
        f"{owner}.{name} cannot be changed inside of tracing: "
        "change it before, or use a name of your own"
    )
