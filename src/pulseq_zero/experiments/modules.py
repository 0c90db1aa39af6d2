"""The networks of an experiment, which are trained along with its parameters."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from pulseq_zero.errors import ConfigError
from pulseq_zero.experiments.settings import ModuleSettings
from pulseq_zero.experiments.stages import START, point_of
from pulseq_zero.files.loading import failure, load_function
from pulseq_zero.files.store import load_tensors

Modules = dict[str, torch.nn.Module]
# What the names of their tensors begin with, in the file of the parameters
_PREFIX = "modules/"


def make_modules(given: Mapping[str, ModuleSettings], base: Path | None = None) -> Modules:
    """Make the modules of an experiment as they are at the start, by their names.

    Raises
    ------
    ConfigError
        If a function is not there, fails, or returns no module.
    """
    return {name: _made(name, settings, base) for name, settings in given.items()}


def _made(name: str, given: ModuleSettings, base: Path | None) -> torch.nn.Module:
    function, place = load_function(given.function, base), f"modules.{name}: {given.function!r}"
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(given.seed)
            made = function(**given.settings)
    except (Exception, SystemExit) as error:
        raise ConfigError(f"{place} fails: {failure(error, function)}") from error
    if not isinstance(made, torch.nn.Module):
        raise ConfigError(f"{place} returns {type(made).__name__}, but must return a module")
    return made


def modules_at(
    given: Mapping[str, ModuleSettings], stage: str, optimization: Path | None
) -> Modules:
    """Make modules in the state that they have at a stage.

    Parameters
    ----------
    given
        The modules.
    stage
        ``start``, or that of the best iteration, of which alone they are kept.
    optimization
        File with the parameters of all iterations; not needed for the start.
    """
    modules = make_modules(given)
    if modules and point_of(stage) != START and optimization is not None:
        tensors, _ = load_tensors(optimization)
        for name, module in modules.items():
            begin = f"{_PREFIX}{name}/"
            state = {k.removeprefix(begin): v for k, v in tensors.items() if k.startswith(begin)}
            module.load_state_dict(state)
    return modules


def named_states(
    modules: Mapping[str, torch.nn.Module], states: list[dict[str, torch.Tensor]]
) -> dict[str, torch.Tensor]:
    """Name the tensors of trained modules, in the order of these, for the parameters' file."""
    return {
        f"{_PREFIX}{name}/{key}": value.clone()
        for name, state in zip(modules, states, strict=True)
        for key, value in state.items()
    }


def without_modules(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the parameters alone of what their file holds."""
    return {name: value for name, value in tensors.items() if not name.startswith(_PREFIX)}
