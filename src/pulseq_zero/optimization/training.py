"""Networks that are trained along with the parameters of a sequence."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from pulseq_zero.errors import OptimizationError, shown
from pulseq_zero.files.loading import call
from pulseq_zero.optimization.steppers import made_optimizer

ModuleOptimizerFactory = Callable[[list[Tensor]], torch.optim.Optimizer]

# One state dict a module
ModuleStates = list[dict[str, Tensor]]


class Training:
    """Modules, and the optimizer that trains them.

    Parameters
    ----------
    modules
        What is trained; what of it requires no gradient stays as it is.
    optimizer
        Makes the optimizer, of a list of tensors; None for Adam at torch's own learning rate.

    Raises
    ------
    OptimizationError
        If one is no module, or has nothing to train.
    """

    def __init__(
        self, modules: Sequence[torch.nn.Module], optimizer: ModuleOptimizerFactory | None
    ) -> None:
        modules = [modules] if isinstance(modules, torch.nn.Module) else modules
        for module in modules if isinstance(modules, Iterable) else [modules]:
            if not isinstance(module, torch.nn.Module):
                raise OptimizationError(f"modules must be torch.nn.Module, not {shown(module)}")
        self.modules = tuple(modules)
        found = {id(t): t for module in modules for t in module.parameters() if t.requires_grad}
        self.tensors: list[Tensor] = list(found.values())
        if modules and not self.tensors:
            raise OptimizationError(
                "the modules have nothing to train: no parameter of theirs requires a gradient"
            )
        make = optimizer or torch.optim.Adam
        self.optimizer = (
            made_optimizer("module_optimizer", make, self.tensors) if self.tensors else None
        )
        self._before = self._values()

    def step(self, gradient: Sequence[Tensor]) -> None:
        """Move on, given the slopes of the loss by `tensors`."""
        if self.optimizer is None:
            return
        self._before = self._values()
        for tensor, slope in zip(self.tensors, gradient, strict=True):
            tensor.grad = slope
        call("the step of the module optimizer", self.optimizer.step, error=OptimizationError)
        self.optimizer.zero_grad()

    def halve(self) -> None:
        """Take half of the last step back."""
        with torch.no_grad():
            for tensor, before in zip(self.tensors, self._before, strict=True):
                tensor.copy_(before + (tensor - before) / 2)

    def states(self) -> ModuleStates:
        """Copy the state of each module."""
        return [
            {name: value.detach().clone() for name, value in module.state_dict().items()}
            for module in self.modules
        ]

    def load_states(self, states: Sequence[Mapping[str, Tensor]]) -> None:
        """Give each module a state."""
        for module, state in zip(self.modules, states, strict=True):
            module.load_state_dict(state)

    @contextmanager
    def in_states(self, states: Sequence[Mapping[str, Tensor]]) -> Iterator[None]:
        """Let the modules be in other states for a while."""
        now = self.states()
        self.load_states(states)
        yield
        self.load_states(now)

    def state(self) -> dict[str, Any]:
        """Return all that `load` needs."""
        optimizer = None if self.optimizer is None else self.optimizer.state_dict()
        return {"modules": self.states(), "before": self._before, "optimizer": optimizer}

    def load(self, state: Mapping[str, Any]) -> None:
        """Take up a state."""
        self.load_states(state["modules"])
        self._before = list(state["before"])
        if self.optimizer is not None:
            self.optimizer.load_state_dict(state["optimizer"])

    def _values(self) -> list[Tensor]:
        return [tensor.detach().clone() for tensor in self.tensors]


def check_all_trained(loss: Tensor, trained: Sequence[Tensor]) -> None:
    """Refuse a loss that depends on trainable tensors that nobody trains.

    Parameters
    ----------
    loss
        () with its graph.
    trained
        What is optimized or trained.

    Raises
    ------
    OptimizationError
        Tells the shape of the first one.
    """
    known = {id(tensor) for tensor in trained}
    for leaf in _leaves(loss):
        if id(leaf) not in known:
            raise OptimizationError(
                f"the loss depends on a trainable tensor of shape {tuple(leaf.shape)} that nobody "
                "trains; give its network by modules=[...], make it a Parameter with "
                "in_sequence=False, or keep it as it is by requires_grad_(False)"
            )


def _leaves(loss: Tensor) -> Iterator[Tensor]:
    """Walk through the graph to the tensors that it begins with."""
    nodes, seen = [loss.grad_fn], set[Any]()
    while nodes:
        node = nodes.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            yield node.variable
        nodes += [following for following, _ in node.next_functions]
