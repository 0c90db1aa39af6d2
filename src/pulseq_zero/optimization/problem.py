"""The loss and its gradient as functions of the parameters."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeAlias

import MRzeroCore as mr0
import torch
from torch import Tensor

from pulseq_zero.errors import NotFiniteError, OptimizationError
from pulseq_zero.imaging.model import ImagingModel, SequenceFunction
from pulseq_zero.optimization.loss import LossFunction, check_loss_function, evaluate_loss
from pulseq_zero.optimization.settings import OptimizationSettings
from pulseq_zero.optimization.steppers import Evaluation, Values
from pulseq_zero.phantom import Phantom

Imaged: TypeAlias = Phantom | mr0.SimData


class Problem:
    """The loss of one phantom."""

    def __init__(self, model: ImagingModel, loss_function: LossFunction) -> None:
        self.model, self.loss_function = model, loss_function

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
        found = evaluate_loss(self.loss_function, leaves, self.model(leaves), iteration)
        loss = found.total
        if not bool(loss.isfinite()):
            raise NotFiniteError(_not_finite("loss", float(loss.detach()), iteration, values))
        gradient: Values = {}
        if with_gradient:
            gradient = _gradient(loss, leaves)
            for name, slope in gradient.items():
                if not bool(slope.isfinite().all()):
                    what = f"gradient of {name!r}"
                    raise NotFiniteError(_not_finite(what, math.nan, iteration, values))
        detached = {name: leaf.detach() for name, leaf in leaves.items()}
        return Evaluation(detached, float(loss.detach()), found.numbers, gradient)


class Ensemble:
    """The mean of the losses of several problems, of their terms and of their gradients."""

    def __init__(self, members: list[Problem]) -> None:
        self.members = members

    @classmethod
    def at_accuracy(
        cls,
        accuracy: float,
        sequence_function: SequenceFunction,
        members: Sequence[tuple[Imaged, LossFunction]],
        settings: OptimizationSettings,
    ) -> Ensemble:
        """Build the problems of an ensemble, all at one accuracy."""
        problems = [
            Problem(
                ImagingModel(
                    sequence_function,
                    phantom,
                    arguments=settings.arguments,
                    matrix=settings.matrix,
                    fov=settings.fov,
                    accuracy=accuracy,
                    pulses=settings.pulses,
                    simulation=settings.simulation,
                ),
                loss,
            )
            for phantom, loss in members
        ]
        return cls(problems)

    def use_accuracy(self, accuracy: float) -> None:
        """Simulate at another accuracy from now on."""
        for member in self.members:
            member.model.use_accuracy(accuracy)

    def evaluate(self, values: Values, iteration: int, with_gradient: bool = True) -> Evaluation:
        """Compute the mean, see `Problem.evaluate`."""
        each = [member.evaluate(values, iteration, with_gradient) for member in self.members]
        first, count = each[0], len(each)
        return Evaluation(
            first.values,
            sum(one.loss for one in each) / count,
            {term: sum(one.terms[term] for one in each) / count for term in first.terms},
            {n: torch.stack([one.gradient[n] for one in each]).mean(0) for n in first.gradient},
        )


def members_of(
    phantom: Imaged | Sequence[Imaged], loss_function: LossFunction | Sequence[LossFunction]
) -> list[tuple[Imaged, LossFunction]]:
    """Pair the phantoms of an ensemble with their loss functions.

    Raises
    ------
    OptimizationError
        If there are not as many of both, or if one is none.
    """
    phantoms = list(phantom) if isinstance(phantom, list | tuple) else [phantom]
    losses = (
        list(loss_function)
        if isinstance(loss_function, Sequence)
        else [loss_function] * len(phantoms)
    )
    if not phantoms or len(losses) != len(phantoms):
        raise OptimizationError(
            f"an ensemble of {len(phantoms)} phantoms has {len(losses)} loss functions; give one "
            "phantom or more, and one loss function for all or one for each"
        )
    for one in phantoms:
        if not isinstance(one, Phantom | mr0.SimData):
            raise OptimizationError(
                f"the phantom must be a Phantom or MRzeroCore's SimData, not {one!r}; "
                "pulseq_zero.build_phantom makes one"
            )
    for loss in losses:
        check_loss_function(loss)
    return list(zip(phantoms, losses, strict=True))


def short(values: Tensor) -> str:
    """Write a value, or the range of several."""
    if values.numel() == 1:
        return f"{values.item():.5g}"
    return f"{values.min().item():.4g}..{values.max().item():.4g}"


def _gradient(loss: Tensor, leaves: Values) -> Values:
    if not loss.requires_grad:
        raise OptimizationError(
            "the loss has no gradient: it depends on no parameter, or was cut off by detach(), "
            "item() or NumPy; compute it with torch from the image and the parameters"
        )
    slopes = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)
    return {
        name: torch.zeros_like(leaf) if slope is None else slope
        for (name, leaf), slope in zip(leaves.items(), slopes, strict=True)
    }


def _not_finite(what: str, value: float, iteration: int, values: Values) -> str:
    shown = ", ".join(f"{name} = {short(each)}" for name, each in values.items())
    return (
        f"the {what} is {value} in iteration {iteration} at {shown}; "
        "lower the learning rate, set bounds, or halve the step by on_not_finite='halve'"
    )
