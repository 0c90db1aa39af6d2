"""Import modules when they are used, and not when others import them.

PyPulseq and MRzeroCore import what draws and fits, whether it is used or not: 0.8 s of a job.
"""

import sys
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType

# What PyPulseq and MRzeroCore import, and few sequences use
UNUSED = ("matplotlib.pyplot", "scipy.interpolate", "scipy.io", "scipy.signal")


class _Later(ModuleType):
    """Stands for a module: gives its names, or, while others are imported, what calls them."""

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        if sys.modules.get(self.__name__) is not self:
            return getattr(import_module(self.__name__), name)
        return lambda *args, **settings: getattr(self, name)(*args, **settings)


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
