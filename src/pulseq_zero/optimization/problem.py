"""The loss and its gradient as functions of the parameters."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeGuard

import numpy as np
import torch
from torch import Tensor

from pulseq_zero.errors import NotFiniteError, OptimizationError, PulseqZeroError
from pulseq_zero.files.loading import call
from pulseq_zero.imaging.model import ImagingModel
from pulseq_zero.imaging.noise import with_noise
from pulseq_zero.optimization.loss import (
    Acquired,
    LossFunction,
    check_loss_function,
    evaluate_loss,
)
from pulseq_zero.optimization.sequences import Sequences
from pulseq_zero.optimization.settings import OptimizationSettings
from pulseq_zero.optimization.steppers import Evaluation, Values
from pulseq_zero.optimization.training import check_all_trained
from pulseq_zero.phantom.imaged import Imaged

ImagedByIteration: TypeAlias = Callable[[int], Imaged | Sequence[Imaged]]


@dataclass(frozen=True)
class Extras:
    """What a loss may depend on beside the parameters, and what disturbs the signal.

    Attributes
    ----------
    trained
        Tensors that are trained along.
    noise
        Standard deviation of the real and of the imaginary part of each sample's noise.
    seed
        Of the noise.
    """

    trained: tuple[Tensor, ...] = ()
    noise: float = 0.0
    seed: int = 0

    def disturbed(self, acquired: Acquired, *place: int) -> Acquired:
        """Add the noise of a place in the course of the optimization."""
        if self.noise == 0:
            return acquired
        seed = np.random.SeedSequence((self.seed, *place)).generate_state(1)
        generator = torch.Generator().manual_seed(int(seed[0]))
        if not isinstance(acquired, Mapping):
            return with_noise(acquired, self.noise, generator)
        return {name: with_noise(one, self.noise, generator) for name, one in acquired.items()}


class Problem:
    """The loss of one phantom.

    Parameters
    ----------
    models
        By the names of the sequences, or the empty one of the only sequence.
    loss_function
        The loss.
    sequences
        What each sequence takes.
    extras
        What else there is.
    number
        Of the phantom in its ensemble.
    """

    def __init__(
        self,
        models: Mapping[str, ImagingModel],
        loss_function: LossFunction,
        sequences: Sequences,
        extras: Extras,
        number: int = 0,
    ) -> None:
        self.models, self.loss_function = models, loss_function
        self.sequences, self.extras, self.number = sequences, extras, number

    def evaluate(self, values: Values, iteration: int, with_gradient: bool = True) -> Evaluation:
        """Compute the loss, its terms and its gradient.

        Raises
        ------
        OptimizationError
            If the loss function fails, or returns what is no loss.
        NotFiniteError
            If the loss or its gradient is not finite.
        """
        leaves = {n: v.detach().clone().requires_grad_(with_gradient) for n, v in values.items()}
        acquired = self.extras.disturbed(
            self.sequences.acquire(self.models, leaves), iteration, self.number
        )
        with torch.set_grad_enabled(with_gradient):
            found = evaluate_loss(self.loss_function, leaves, acquired, iteration)
        loss = found.total
        if not bool(loss.isfinite()):
            raise NotFiniteError(_not_finite("loss", float(loss.detach()), iteration, values))
        gradient: Values = {}
        of_modules: tuple[Tensor, ...] = ()
        if with_gradient:
            if iteration == 0:
                check_all_trained(loss, [*leaves.values(), *self.extras.trained])
            gradient, of_modules = _gradient(loss, leaves, self.extras.trained)
            for name, slope in gradient.items():
                if not bool(slope.isfinite().all()):
                    what = f"gradient of {name!r}"
                    raise NotFiniteError(_not_finite(what, math.nan, iteration, values))
            if not all(bool(slope.isfinite().all()) for slope in of_modules):
                what = "gradient of the modules"
                raise NotFiniteError(_not_finite(what, math.nan, iteration, values))
        # Not the leaves, which a loss function may have changed in place
        detached = {name: value.detach() for name, value in values.items()}
        return Evaluation(
            detached, float(loss.detach()), found.numbers, gradient, of_modules, (acquired,)
        )


class Ensemble:
    """The mean of the losses of several problems, of their terms and of their gradients.

    Parameters
    ----------
    members
        The problems.
    phantom
        Gives the phantoms of an iteration, if they are others in each.
    """

    def __init__(self, members: list[Problem], phantom: ImagedByIteration | None = None) -> None:
        self.members = members
        self._phantom, self._iteration = phantom, 0

    @classmethod
    def at_accuracy(
        cls,
        accuracy: float,
        sequences: Sequences,
        phantom: Imaged | Sequence[Imaged] | ImagedByIteration,
        loss_function: LossFunction | Sequence[LossFunction],
        settings: OptimizationSettings,
        extras: Extras,
    ) -> Ensemble:
        """Build the problems of an ensemble, all at one accuracy.

        Raises
        ------
        OptimizationError
            If there are not as many phantoms as loss functions, or if one is none.
        """
        by_iteration, first = None, phantom
        if is_by_iteration(phantom):
            by_iteration, first = phantom, _phantom_of(phantom, 0)
        problems = [
            Problem(sequences.models(imaged, accuracy, settings), loss, sequences, extras, number)
            for number, (imaged, loss) in enumerate(members_of(first, loss_function))
        ]
        return cls(problems, by_iteration)

    @property
    def memories(self) -> list[dict[str, Any]]:
        """What the models remember, see `ImagingModel.memory`."""
        return [model.memory for model in self.models]

    def recall(self, memories: Sequence[Mapping[str, Any]]) -> None:
        """Take up what models of the same ensemble remember."""
        for model, memory in zip(self.models, memories, strict=True):
            if self._phantom is None:
                model.recall(memory)
            else:
                # The next iteration has another phantom, of which nothing is known
                model.sequence_model.trace_again(memory["traced_at"])

    @property
    def models(self) -> list[ImagingModel]:
        """All imaging models."""
        return [model for member in self.members for model in member.models.values()]

    def use_accuracy(self, accuracy: float) -> None:
        """Simulate at another accuracy from now on."""
        for model in self.models:
            model.use_accuracy(accuracy)

    def evaluate(self, values: Values, iteration: int, with_gradient: bool = True) -> Evaluation:
        """Compute the mean, see `Problem.evaluate`."""
        self._take_phantoms_of(iteration)
        each = [member.evaluate(values, iteration, with_gradient) for member in self.members]
        first, count = each[0], len(each)
        for one in each:
            if set(one.terms) != set(first.terms):
                raise OptimizationError(
                    f"the loss functions of an ensemble have the terms {sorted(first.terms)} and "
                    f"{sorted(one.terms)}; let all return the same"
                )
        return Evaluation(
            first.values,
            sum(one.loss for one in each) / count,
            {term: sum(one.terms[term] for one in each) / count for term in first.terms},
            {n: torch.stack([one.gradient[n] for one in each]).mean(0) for n in first.gradient},
            tuple(
                torch.stack(slopes).mean(0)
                for slopes in zip(*(one.module_gradient for one in each), strict=True)
            ),
            tuple(acquired for one in each for acquired in one.acquired),
        )

    def _take_phantoms_of(self, iteration: int) -> None:
        if self._phantom is None or iteration == self._iteration:
            return
        given = _phantom_of(self._phantom, iteration)
        phantoms = given if isinstance(given, list | tuple) else [given]
        if len(phantoms) != len(self.members):
            raise OptimizationError(
                f"the phantom function returns {len(phantoms)} in iteration {iteration} "
                f"and {len(self.members)} before; let it return as many in each"
            )
        for member, imaged in zip(self.members, phantoms, strict=True):
            member.models = {name: model.on(imaged) for name, model in member.models.items()}
        self._iteration = iteration


def is_by_iteration(phantom: Any) -> TypeGuard[ImagedByIteration]:
    """Tell whether phantoms are given as a function of the iteration."""
    return callable(phantom)


def _phantom_of(phantom: ImagedByIteration, iteration: int) -> Imaged | Sequence[Imaged]:
    return call("phantom", phantom, iteration, error=OptimizationError)


def members_of(
    phantom: Any, loss_function: LossFunction | Sequence[LossFunction]
) -> list[tuple[Imaged, LossFunction]]:
    """Pair the phantoms of an ensemble with their loss functions.

    Raises
    ------
    OptimizationError
        If there are not as many of both, or if a loss function is none.
    """
    phantoms = list(phantom) if isinstance(phantom, list | tuple) else [phantom]
    losses: list[LossFunction] = (
        list(loss_function)
        if isinstance(loss_function, list | tuple)
        else [loss_function] * len(phantoms)  # type: ignore[list-item]
    )
    if not phantoms or len(losses) != len(phantoms):
        raise OptimizationError(
            f"an ensemble of {len(phantoms)} phantoms has {len(losses)} loss functions; give one "
            "phantom or more, and one loss function for all or one for each"
        )
    for loss in losses:
        check_loss_function(loss)
    return list(zip(phantoms, losses, strict=True))


def short(values: Tensor) -> str:
    """Write a value, or the range of several."""
    if values.numel() == 1:
        return f"{values.item():.5g}"
    return f"{values.min().item():.4g}..{values.max().item():.4g}"


def _gradient(
    loss: Tensor, leaves: Values, trained: Sequence[Tensor]
) -> tuple[Values, tuple[Tensor, ...]]:
    """Slopes by the parameters and by what is trained along."""
    if not loss.requires_grad:
        raise OptimizationError(
            "the loss has no gradient: it depends on no parameter, or was cut off by detach(), "
            "item() or NumPy; compute it with torch from the image and the parameters"
        )
    sources = [*leaves.values(), *trained]
    try:
        found = torch.autograd.grad(loss, sources, allow_unused=True)
    except PulseqZeroError:
        raise
    except RuntimeError as error:
        raise OptimizationError(
            f"the loss cannot be differentiated: {' '.join(str(error).split())}; neither call "
            "backward() in the loss function nor change the image or the parameters in place"
        ) from error
    slopes = [
        torch.zeros_like(source) if slope is None else slope
        for source, slope in zip(sources, found, strict=True)
    ]
    return dict(zip(leaves, slopes, strict=False)), tuple(slopes[len(leaves) :])


def _not_finite(what: str, value: float, iteration: int, values: Values) -> str:
    shown = ", ".join(f"{name} = {short(each)}" for name, each in values.items())
    return (
        f"the {what} is {value} in iteration {iteration} at {shown}; "
        "lower the learning rate, set bounds, or halve the step by on_not_finite='halve'"
    )
