"""Import modules when they are used, and not when others import them.

PyPulseq and MRzeroCore import what draws, fits and writes other formats, whether it is used or not:
a second of a job. torch's optimizers import its compiler, to say that it should leave them alone:
as long as torch itself.
"""

import sys
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType

# What PyPulseq and MRzeroCore import, and few sequences use
UNUSED = (
    *("matplotlib", "matplotlib.colors", "matplotlib.pyplot"),
    *("scipy.interpolate", "scipy.io", "scipy.signal"),
    "MRzeroCore.simulation.sig_to_mrd",
)


class _Later(ModuleType):
    """Stands for a module: gives its names, or, while others are imported, what stands for them."""

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        if sys.modules.get(self.__name__) is not self:
            return getattr(import_module(self.__name__), name)
        return sys.modules.get(f"{self.__name__}.{name}") or _Name(self, name)


class _Name:
    """Stands for what a module has by a name, such as a function or a class."""

    def __init__(self, module, name):
        self._get = lambda: getattr(module, name)

    def __call__(self, *args, **settings):
        return self._get()(*args, **settings)

    def __getattr__(self, name):
        # Type hints look for such names
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self._get(), name)


@contextmanager
def later(*names):
    """Stand in for modules that are imported inside, until somebody uses them."""
    stand_ins = {name: _Later(name) for name in names if name not in sys.modules}
    sys.modules.update(stand_ins)
    try:
        yield
    finally:
        for name in stand_ins:
            del sys.modules[name]


class NoCompiler(ModuleType):
    """Stands for torch's compiler, as long as nobody compiles: leaves functions as they are."""

    def __init__(self):
        super().__init__("torch._dynamo")
        self._left = []

    def disable(self, function, recursive=True, wrapping=True):
        self._left.append(function)
        return function

    def graph_break(self):
        pass

    def __getattr__(self, name):
        # Whoever looks at all modules asks for such names; who imports what lies in one, for a path
        if name.startswith("__") and name != "__path__":
            raise AttributeError(name)
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
            # Where torch keeps what `disable` gave
            for function in self._left:
                vars(function).pop("__dynamo_disable", None)
        return getattr(import_module(self.__name__), name)
