"""What a loss is, and what it takes: the one place that calls loss functions.

A *loss function* asks for what it needs by the names of its arguments:

- ``parameters``: the values of the parameters by name;
- ``image``: (x, y) complex;
- ``acquisition``: all that was acquired, see `pulseq_zero.Acquisition`: signal, k-space, the images
  of the coils, and what the sequence takes;
- ``iteration``: the number of the iteration, 0 where there is none.

Of several sequences, image and acquisition are mappings by the sequences' names.

Arguments of other names get parameters and image, in this order. It returns a scalar tensor, or a
mapping of named ones whose sum is the loss.
"""

from __future__ import annotations

import inspect
import reprlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import Tensor

from pulseq_zero.errors import OptimizationError, PulseqZeroError, shown
from pulseq_zero.files.loading import failure

if TYPE_CHECKING:
    # Losses do not wait for the simulation
    from pulseq_zero.imaging.acquisition import Acquisition

HISTORY = ("iteration", "loss", "verified_loss", "accuracy", "seconds")
"""Columns of an optimization's history beside the terms of the loss, which no term is called as."""

Parameters = Mapping[str, Tensor]
Loss = Tensor | Mapping[str, Tensor]
LossFunction = Callable[..., Loss]

# Of one sequence, or of several by their names
Acquired: TypeAlias = "Acquisition | Mapping[str, Acquisition]"

_BY_NAME = ("parameters", "image", "acquisition", "iteration")
_IN_ORDER = ("parameters", "image")
_IN_ORDER_ALONE = inspect.signature(lambda parameters, image, /: None)


@dataclass(frozen=True)
class LossValue:
    """What a loss function returned.

    Attributes
    ----------
    total
        () float64 sum of the terms.
    terms
        Those that have names; none, if it returned one scalar.
    """

    total: Tensor
    terms: dict[str, Tensor]

    @property
    def numbers(self) -> dict[str, float]:
        """The terms as numbers."""
        return {name: float(term.detach()) for name, term in self.terms.items()}


def evaluate_loss(
    loss_function: LossFunction,
    parameters: Parameters,
    acquisition: Acquired,
    iteration: int = 0,
) -> LossValue:
    """Call a loss function with what it asks for.

    Parameters
    ----------
    loss_function
        The function.
    parameters, acquisition, iteration
        What it may ask for.

    Raises
    ------
    OptimizationError
        If it fails, or returns what is no loss, or a term whose name is none.
    """
    signature, asked = _asked(loss_function)
    # Copies: a loss function may take out what it has used
    acquisition = dict(acquisition) if isinstance(acquisition, Mapping) else acquisition
    known: dict[str, Any]
    known = {"parameters": dict(parameters), "acquisition": acquisition, "iteration": iteration}
    if any("image" in each for each in asked.values()):
        known["image"] = (
            {name: each.image for name, each in acquisition.items()}
            if isinstance(acquisition, Mapping)
            else acquisition.image
        )
    bound = signature.bind_partial()
    for argument, names in asked.items():
        values = tuple(known[name] for name in names)
        is_several = signature.parameters[argument].kind is inspect.Parameter.VAR_POSITIONAL
        bound.arguments[argument] = values if is_several else values[0]
    try:
        found = loss_function(*bound.args, **bound.kwargs)
    except PulseqZeroError:
        raise
    except (Exception, SystemExit) as error:
        raise OptimizationError(
            f"the loss function fails in iteration {iteration}: {failure(error, loss_function)}"
        ) from error
    named = dict(found) if isinstance(found, Mapping) else {}
    _check_names(named)
    terms = list(named.values()) if isinstance(found, Mapping) else [found]
    _check_terms(terms)
    return LossValue(torch.stack([term.double().reshape(()) for term in terms]).sum(), named)


def loss_of(loss_function: LossFunction, parameters: Parameters, acquisition: Acquired) -> float:
    """Loss of an acquisition, its terms added up; errors as of `evaluate_loss`."""
    with torch.no_grad():
        return float(evaluate_loss(loss_function, parameters, acquisition).total)


def check_loss_function(loss_function: Any) -> None:
    """Refuse what is no loss function.

    Raises
    ------
    OptimizationError
        If it cannot be called, or asks for what there is not.
    """
    if not callable(loss_function):
        raise OptimizationError(
            f"the loss function must be a function of (parameters, image), not "
            f"{shown(loss_function)}"
        )
    _asked(loss_function)


def _asked(loss_function: LossFunction) -> tuple[inspect.Signature, dict[str, tuple[str, ...]]]:
    """Find out what each of a function's arguments asks for."""
    try:
        # A network says in its method what it takes
        signature = inspect.signature(getattr(loss_function, "forward", loss_function))
    except (TypeError, ValueError):
        # Some that are not written in Python do not tell
        signature = _IN_ORDER_ALONE
    arguments = signature.parameters
    left = [name for name in _IN_ORDER if name not in arguments]
    asked: dict[str, tuple[str, ...]] = {}
    for name, argument in arguments.items():
        if argument.kind is inspect.Parameter.VAR_KEYWORD:
            continue
        if argument.kind is inspect.Parameter.VAR_POSITIONAL:
            asked[name], left = tuple(left), []
        elif name in _BY_NAME:
            asked[name] = (name,)
        elif argument.default is inspect.Parameter.empty:
            if not left or argument.kind is inspect.Parameter.KEYWORD_ONLY:
                raise OptimizationError(
                    f"the loss function asks for {name!r}, which there is not; it may ask for "
                    f"{', '.join(_BY_NAME[:-1])} and {_BY_NAME[-1]}"
                )
            asked[name] = (left.pop(0),)
    return signature, asked


def _check_names(names: Iterable[Any]) -> None:
    for name in names:
        if not isinstance(name, str) or name in HISTORY:
            raise OptimizationError(
                f"the loss function returned a term named {name!r}, but a name must be text, and "
                f"{', '.join(HISTORY)} are what the history has beside the terms; call it otherwise"
            )


def _check_terms(terms: Sequence[Any]) -> None:
    for term in terms:
        if not isinstance(term, Tensor) or term.numel() != 1 or _kind(term):
            what = " ".join(reprlib.repr(term).split())
            if isinstance(term, Tensor):
                what = f"a {_kind(term)}tensor of shape {tuple(term.shape)}"
            raise OptimizationError(
                f"the loss function returned {what}, but every loss must be a real scalar "
                "tensor; take the mean, or the magnitude"
            )
    if not terms:
        raise OptimizationError("the loss function returned no terms; return at least one")


def _kind(term: Tensor) -> str:
    """Say of what kind a tensor is that is no plain one of real numbers."""
    kinds = {
        "complex ": term.is_complex(),
        "sparse ": term.layout != torch.strided,
        "meta ": term.is_meta,
    }
    return "".join(kind for kind, applies in kinds.items() if applies)
