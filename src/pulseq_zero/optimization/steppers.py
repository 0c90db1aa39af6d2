"""The optimizers: torch's own, made to respect bounds and learning rates per parameter."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from pulseq_zero.errors import OptimizationError, shown
from pulseq_zero.files.loading import call
from pulseq_zero.optimization.loss import Acquired
from pulseq_zero.optimization.parameters import Bounded, Parameter

Values = dict[str, Tensor]
OptimizerFactory = Callable[[list[dict[str, Any]]], torch.optim.Optimizer]
SchedulerFactory = Callable[[torch.optim.Optimizer], LRScheduler]

# The smallest and the largest step of Rprop, relative to the learning rate
_STEPS = (1e-4, 4.0)


@dataclass(frozen=True)
class Evaluation:
    """Loss, its terms and its gradient at some parameter values.

    Beside it, the slopes by what is trained along, and for each phantom what was acquired.
    """

    values: Values
    loss: float
    terms: dict[str, float]
    gradient: Values
    module_gradient: tuple[Tensor, ...] = ()
    acquired: tuple[Acquired, ...] = ()


class Stepper(Protocol):
    """An optimizer that can be stopped and can go on as if it had not been."""

    def values(self) -> Values:
        """Return the parameters as they are now."""

    def step(self, here: Evaluation, evaluate: Callable[[Values], Evaluation]) -> None:
        """Move on, given the evaluation at the present values."""

    def halve(self) -> bool:
        """Take half of the last step back, or say that nothing is left to halve."""

    def state(self) -> dict[str, Any]:
        """Return all that `load` needs."""

    def load(self, state: Mapping[str, Any]) -> None:
        """Take up a state."""


class _Descent:
    """An optimizer of torch with one learning rate a parameter; steps are projected into bounds.

    Parameters
    ----------
    parameters
        What is optimized.
    optimizer
        Makes the optimizer, of groups with ``params`` and ``lr``.
    scheduler
        Makes what changes the learning rates from step to step, of the optimizer.
    """

    def __init__(
        self,
        parameters: dict[str, Parameter],
        optimizer: OptimizerFactory,
        scheduler: SchedulerFactory | None,
    ) -> None:
        self.parameters = parameters
        self.leaves = {name: p.start.clone().requires_grad_() for name, p in parameters.items()}
        groups = [
            {"params": [self.leaves[name]], "lr": parameter.learning_rate}
            for name, parameter in parameters.items()
        ]
        self.optimizer = made_optimizer("optimizer", optimizer, groups)
        self.scheduler = None
        if scheduler is not None:
            self.scheduler = call("scheduler", scheduler, self.optimizer, error=OptimizationError)
            if not hasattr(self.scheduler, "step"):
                raise OptimizationError(
                    f"scheduler makes {shown(self.scheduler)}, but must make a scheduler of torch"
                )
        self.before = self.values()

    def values(self) -> Values:
        return {name: leaf.detach().clone() for name, leaf in self.leaves.items()}

    def step(self, here: Evaluation, evaluate: Callable[[Values], Evaluation]) -> None:
        self.before = self.values()
        for name, leaf in self.leaves.items():
            leaf.grad = here.gradient[name]
        call("the step of the optimizer", self.optimizer.step, error=OptimizationError)
        with torch.no_grad():
            for name, leaf in self.leaves.items():
                leaf.copy_(self.parameters[name].within(leaf))
        advance(self.scheduler, here.loss)

    def halve(self) -> bool:
        here, before = self.values(), self.before
        _load_leaves(self.leaves, {n: before[n] + (here[n] - before[n]) / 2 for n in here})
        return any(not torch.equal(leaf, here[name]) for name, leaf in self.leaves.items())

    def state(self) -> dict[str, Any]:
        return {
            "leaves": self.values(),
            "before": self.before,
            "optimizer": self.optimizer.state_dict(),
            "scheduler": None if self.scheduler is None else self.scheduler.state_dict(),
        }

    def load(self, state: Mapping[str, Any]) -> None:
        _load_leaves(self.leaves, state["leaves"])
        self.before = dict(state["before"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.scheduler is not None:
            self.scheduler.load_state_dict(state["scheduler"])


def made_optimizer(
    name: str, make: Callable[..., torch.optim.Optimizer], parameters: Any
) -> torch.optim.Optimizer:
    """Let a user's function make an optimizer, or raise an `OptimizationError`."""
    made = call(name, make, parameters, error=OptimizationError)
    if not isinstance(made, torch.optim.Optimizer):
        raise OptimizationError(
            f"{name} makes {shown(made)}, but must make an optimizer of torch, such as "
            "torch.optim.Adam"
        )
    return made


def advance(scheduler: LRScheduler | None, loss: float) -> None:
    """Let learning rates be those of the next step."""
    if scheduler is not None:
        given = [loss] if isinstance(scheduler, ReduceLROnPlateau) else []
        call("the step of the scheduler", scheduler.step, *given, error=OptimizationError)


class _LBFGS:
    """L-BFGS with a strong Wolfe line search, in a free variable that keeps the bounds."""

    SMALLEST_RATE = 1e-6

    def __init__(self, parameters: dict[str, Parameter]) -> None:
        self.transforms = {name: Bounded(parameter) for name, parameter in parameters.items()}
        self.leaves = {
            name: self.transforms[name].free(p.start).requires_grad_()
            for name, p in parameters.items()
        }
        self.optimizer = torch.optim.LBFGS(
            list(self.leaves.values()), max_iter=1, line_search_fn="strong_wolfe"
        )
        # Where the line search starts, as a part of the step that L-BFGS proposes
        self.rate = 1.0
        self.before: dict[str, Any] | None = None

    def values(self) -> Values:
        with torch.no_grad():
            return {name: self.transforms[name].value(u) for name, u in self.leaves.items()}

    def step(self, here: Evaluation, evaluate: Callable[[Values], Evaluation]) -> None:
        known = here

        def closure() -> float:
            nonlocal known
            values = self.values()
            if any(not torch.equal(values[n], known.values[n]) for n in values):
                known = evaluate(values)
            for name, free in self.leaves.items():
                value = self.transforms[name].value(free)
                (free.grad,) = torch.autograd.grad((value * known.gradient[name]).sum(), free)
            return known.loss

        self.before = self._place()
        self.optimizer.param_groups[0]["lr"] = self.rate
        self.optimizer.step(closure)
        self.rate = 1.0

    def halve(self) -> bool:
        if self.before is None:
            return False
        self._go_to(self.before)
        self.rate /= 2
        return self.rate > self.SMALLEST_RATE

    def state(self) -> dict[str, Any]:
        return {**self._place(), "before": self.before}

    def load(self, state: Mapping[str, Any]) -> None:
        self._go_to(state)
        self.before = state["before"]

    def _place(self) -> dict[str, Any]:
        leaves = {name: leaf.detach().clone() for name, leaf in self.leaves.items()}
        return {"leaves": leaves, "optimizer": copy.deepcopy(self.optimizer.state_dict())}

    def _go_to(self, place: Mapping[str, Any]) -> None:
        _load_leaves(self.leaves, place["leaves"])
        self.optimizer.load_state_dict(place["optimizer"])


def _load_leaves(leaves: Values, stored: Values) -> None:
    with torch.no_grad():
        for name, leaf in leaves.items():
            leaf.copy_(stored[name])


def make_stepper(
    method: str,
    parameters: dict[str, Parameter],
    optimizer: OptimizerFactory | None = None,
    scheduler: SchedulerFactory | None = None,
) -> Stepper:
    """Make the optimizer of that name, or of a factory, or raise an `OptimizationError`."""
    if optimizer is None and method == "lbfgs":
        if scheduler is not None:
            raise OptimizationError(
                "method 'lbfgs' searches along a line and knows no scheduler; leave it out, or "
                "take another optimizer"
            )
        return _LBFGS(parameters)
    if optimizer is None and (not isinstance(method, str) or method not in _METHODS):
        raise OptimizationError(
            f"there is no method {shown(method)}; the methods are 'adam', 'rprop' and 'lbfgs'"
        )
    return _Descent(parameters, optimizer or _METHODS[method], scheduler)


def _rprop(groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    """Make Rprop with steps in proportion to the learning rates, with which it begins."""
    steps = [tuple(factor * group["lr"] for factor in _STEPS) for group in groups]
    return torch.optim.Rprop(
        [{**group, "step_sizes": sizes} for group, sizes in zip(groups, steps, strict=True)]
    )


_METHODS: dict[str, OptimizerFactory] = {"adam": torch.optim.Adam, "rprop": _rprop}
