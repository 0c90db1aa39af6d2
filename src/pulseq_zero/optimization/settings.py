"""The settings of an optimization, and their defaults."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from pulseq_zero.conversion.options import Pulses
from pulseq_zero.errors import (
    OptimizationError,
    check_function,
    check_grid,
    check_mapping,
    check_number,
    shown,
)
from pulseq_zero.simulation.accuracy import DEFAULT_ACCURACY

if TYPE_CHECKING:
    # Experiments read the defaults without torch
    import torch

    from pulseq_zero.imaging.acquisition import ReconstructionFunction
    from pulseq_zero.optimization.state import OptimizationState
    from pulseq_zero.optimization.steppers import OptimizerFactory, SchedulerFactory
    from pulseq_zero.optimization.training import ModuleOptimizerFactory

Method = Literal["adam", "rprop", "lbfgs"]
OnNotFinite = Literal["stop", "halve"]


@dataclass(frozen=True, kw_only=True)
class OptimizationSettings:
    """What `optimize` takes by keyword.

    Attributes
    ----------
    iterations
        Number of steps.
    method
        ``"adam"`` (Kingma and Ba, arXiv:1412.6980) and ``"rprop"`` (Riedmiller and Braun 1993,
        doi:10.1109/ICNN.1993.298623) with steps projected into the bounds; or ``"lbfgs"`` with a
        line search, in a free variable that keeps the bounds. Rprop gives each number a step of
        its own, from the learning rate up to four times as long while the slope keeps its sign:
        for many parameters and a loss without noise it takes the fewest iterations.
    optimizer
        Any other optimizer of torch, instead of a method: its class, or a function that makes it
        of groups with ``params`` and ``lr``. Its steps are projected into the bounds.
    scheduler
        Makes a learning rate scheduler of the optimizer; it steps once an iteration.
    learning_rate
        Default of the parameters' learning rates.
    modules
        Networks in reconstruction or loss that are trained along. They end up in the state of the
        best iteration.
    module_optimizer
        Makes their optimizer of a list of tensors; by default Adam at torch's own learning rate.
    callback
        Is called with the `OptimizationState` after each iteration. Where it returns true, the
        optimization ends.
    seed
        Seed of torch's random numbers, for loss functions that draw some, and of the noise.
    on_not_finite
        Where the loss or its gradient is NaN or infinite: ``"stop"``, or ``"halve"`` the step
        that led there until they are finite.
    arguments
        Further arguments of the sequence function.
    matrix, fov, reconstruction
        Pixels and field of view [m] of the image, or of a volume, and what makes it, see
        `ImagingModel`.
    noise
        Standard deviation of the real and of the imaginary part of the noise that is added to each
        sample of the signal; another realization in each iteration.
    accuracy
        Accuracy of the simulation during the optimization.
    pulses
        ``"played"``, so that the profile of a slice, the transmit field and off-resonance during
        pulses matter, or ``"instantaneous"``, see `SequenceModel`.
    simulation
        Further settings of the simulation, such as ``device``.
    verify_every
        Compute the loss again at ``verify_accuracy`` every so many iterations and at the last
        one, and choose the best iteration by it: an optimizer finds the errors of a simulation
        as readily as better sequences.
    verify_accuracy
        Accuracy of the verification; by default a tenth of ``accuracy``.
    verify_share
        Least share of the improvement that the verification has to confirm. Where it confirms
        less, the optimization goes on at a tenth of its accuracy, down to that of the
        verification.
    checkpoint
        File for the state of the optimization. An interrupted run that finds it goes on there,
        bit for bit as if it had not been interrupted, with as many threads on the same machine.
    checkpoint_seconds
        Least time between two writes of it [s].
    progress
        Whether to show a progress bar.

    Raises
    ------
    OptimizationError
        If a setting cannot be meant.
    """

    iterations: int = 100
    method: Method = "adam"
    optimizer: OptimizerFactory | None = None
    scheduler: SchedulerFactory | None = None
    modules: Sequence[torch.nn.Module] = ()
    module_optimizer: ModuleOptimizerFactory | None = None
    callback: Callable[[OptimizationState], Any] | None = None
    learning_rate: float = 0.01
    seed: int = 0
    on_not_finite: OnNotFinite = "stop"
    arguments: Mapping[str, Any] | None = None
    matrix: tuple[int, ...] | None = None
    fov: tuple[float, ...] | None = None
    reconstruction: ReconstructionFunction | None = None
    noise: float = 0.0
    accuracy: float = DEFAULT_ACCURACY
    pulses: Pulses = "played"
    simulation: Mapping[str, Any] | None = None
    verify_every: int | None = None
    verify_accuracy: float | None = None
    verify_share: float = 0.9
    checkpoint: Path | str | None = None
    checkpoint_seconds: float = 10.0
    progress: bool = True

    def __post_init__(self) -> None:
        counts: list[tuple[str, Any]] = [("iterations", self.iterations)]
        if self.verify_every is not None:
            counts.append(("verify_every", self.verify_every))
        for name, value in [*counts, ("seed", self.seed)]:
            if not isinstance(value, int) or isinstance(value, bool):
                raise OptimizationError(f"{name} is {shown(value)}, but must be a whole number")
        self._check_types()
        for name, count in counts:
            if count < 1:
                raise OptimizationError(f"{name} is {count}, but must be at least 1")
        if not 0 <= self.seed < 2**63:
            raise OptimizationError(f"seed is {self.seed}, but must lie between 0 and 2**63 - 1")
        for name in ("optimizer", "scheduler", "module_optimizer", "callback", "reconstruction"):
            check_function(name, getattr(self, name), OptimizationError)
        if self.noise < 0:
            raise OptimizationError(f"noise is {self.noise}, but must be zero or positive")
        if not 0 <= self.verify_share <= 1:
            raise OptimizationError(
                f"verify_share is {self.verify_share}, but must lie between 0 and 1"
            )
        if self.pulses not in get_args(Pulses):
            raise OptimizationError(
                f"pulses is {shown(self.pulses)}, but must be one of {get_args(Pulses)}"
            )
        if self.on_not_finite not in get_args(OnNotFinite):
            raise OptimizationError(
                f"on_not_finite is {shown(self.on_not_finite)}, but must be 'stop' or 'halve'"
            )

    def _check_types(self) -> None:
        for name in ("arguments", "simulation"):
            if getattr(self, name) is not None:
                check_mapping(name, getattr(self, name), OptimizationError)
        for name in (
            "accuracy", "verify_accuracy", "verify_share", "checkpoint_seconds", "noise",
        ):  # fmt: skip
            value = getattr(self, name)
            if not (name == "verify_accuracy" and value is None):
                check_number(name, value, OptimizationError)
        if self.learning_rate is None:
            raise OptimizationError("learning_rate is None, but must be a number")
        check_grid(self.matrix, self.fov, OptimizationError)
        if not isinstance(self.checkpoint, str | Path | None):
            raise OptimizationError(
                f"checkpoint is {shown(self.checkpoint)}, but must be the path of a file"
            )

    @property
    def verification_accuracy(self) -> float:
        """Accuracy of the verification."""
        return self.accuracy / 10 if self.verify_accuracy is None else self.verify_accuracy

    def is_verified(self, iteration: int) -> bool:
        """Tell whether the loss of an iteration is computed again."""
        if self.verify_every is None:
            return False
        return iteration == self.iterations or iteration % self.verify_every == 0
