"""Modules that traced code sees in place of others."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType, ModuleType
from typing import Any, NoReturn

from pulseq_zero.errors import TracingError


class StandIn(ModuleType):
    """A module that stands in for another, and cannot be changed: it serves all that is traced."""

    def __init__(self, module: ModuleType, names: dict[str, Any] | None = None) -> None:
        super().__init__(module.__name__, module.__doc__)
        self._learn(names or {})
        # Always the same one, as scripts' names are told by their ids
        self._learn({"_names": MappingProxyType(super().__dict__)})

    def _learn(self, names: Mapping[str, Any]) -> None:
        for name, value in names.items():
            super().__setattr__(name, value)

    @property
    def __dict__(self) -> Mapping[str, Any]:  # type: ignore[override]
        """Its names, for reading: ``vars(module)[name] = ...`` would get round what follows."""
        names: Mapping[str, Any] = self._names
        return names

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
