"""The one call: a sequence function, a loss function, better parameters."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

import MRzeroCore as mr0
import pandas as pd
import torch
from torch import Tensor
from tqdm.auto import tqdm

from pulseq_zero.checkpoints import (
    checksum,
    fingerprint,
    identity,
    load_checkpoint,
    save_checkpoint,
)
from pulseq_zero.conversion.pulses import SubPulses
from pulseq_zero.errors import NotFiniteError, OptimizationError, PulseqZeroError
from pulseq_zero.imaging import ImagingModel, SequenceFunction
from pulseq_zero.loading import check_arguments, failure
from pulseq_zero.losses import LossFunction, sum_of, terms_of
from pulseq_zero.parameters import Parameter, as_parameters
from pulseq_zero.phantom import Phantom
from pulseq_zero.steppers import Evaluation, Method, Values, make_stepper

logger = logging.getLogger(__name__)

OnNotFinite = Literal["stop", "halve"]


@dataclass(frozen=True)
class OptimizationResult:
    """What an optimization found.

    Attributes
    ----------
    best
        Parameters of the iteration with the lowest loss; with verification, the lowest among
        the verified losses.
    last
        Parameters after the last iteration.
    best_iteration
        Its number; iteration 0 is the start.
    history
        A row an iteration: ``iteration``, ``loss``, ``verified_loss`` (NaN where it was not
        computed), the ``accuracy`` of the loss, every term of the loss, and the time used so far
        in ``seconds``.
    parameters
        For each parameter its values (iterations + 1, ...) during the optimization.
    """

    best: Values
    last: Values
    best_iteration: int
    history: pd.DataFrame
    parameters: Values

    @property
    def seconds_per_iteration(self) -> float:
        """Mean wall time of an iteration [s], without verification."""
        return float(self.history["seconds"].iloc[-1]) / max(1, len(self.history) - 1)

    def at(self, iteration: int) -> Values:
        """Parameters at an iteration."""
        return {name: values[iteration] for name, values in self.parameters.items()}


def optimize(
    sequence_function: SequenceFunction,
    loss_function: LossFunction | Sequence[LossFunction],
    parameters: Mapping[str, Any],
    phantom: Phantom | mr0.SimData | Sequence[Phantom | mr0.SimData],
    *,
    iterations: int = 100,
    method: Method = "adam",
    learning_rate: float = 0.01,
    arguments: Mapping[str, Any] | None = None,
    matrix: tuple[int, int] | None = None,
    fov: tuple[float, float] | None = None,
    accuracy: float = 1e-3,
    sub_pulses: SubPulses = 1,
    verify_every: int | None = None,
    verify_accuracy: float | None = None,
    verify_share: float = 0.9,
    simulation: Mapping[str, Any] | None = None,
    checkpoint: Path | str | None = None,
    checkpoint_seconds: float = 10.0,
    on_not_finite: OnNotFinite = "stop",
    seed: int = 0,
    progress: bool = True,
) -> OptimizationResult:
    """Find sequence parameters with a lower loss, by gradient descent through the simulation.

    Parameters
    ----------
    sequence_function
        A plain PyPulseq function that takes the parameters and returns its ``Sequence``.
    loss_function
        Takes the parameters and the complex image (x, y) of an iteration and returns a scalar
        tensor, or a mapping of named ones whose sum is the loss. For an ensemble of phantoms,
        one for all or one for each.
    parameters
        For each parameter its start value, or a `Parameter` with bounds and learning rate.
    phantom
        What is imaged; of an ensemble of several, the mean of the losses is made lower.
    iterations
        Number of steps.
    method
        ``"adam"`` (Kingma and Ba, arXiv:1412.6980) with steps projected into the bounds, or
        ``"lbfgs"`` with a line search, in a free variable that keeps the bounds.
    learning_rate
        Default of the parameters' learning rates.
    arguments
        Further arguments of the sequence function.
    matrix, fov
        Pixels and field of view [m] of the image, see `ImagingModel`.
    accuracy
        Accuracy of the simulation during the optimization.
    sub_pulses
        Into how many rotations each pulse is cut; more than one let the profile of a slice and
        off-resonance during pulses matter, see `SequenceModel`.
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
    simulation
        Further settings of the simulation, such as ``device``.
    checkpoint
        File for the state of the optimization. An interrupted run that finds it goes on there,
        bit for bit as if it had not been interrupted, with as many threads on the same machine.
    checkpoint_seconds
        Least time between two writes of it [s].
    on_not_finite
        Where the loss or its gradient is NaN or infinite: ``"stop"``, or ``"halve"`` the step
        that led there until they are finite.
    seed
        Seed of torch's random numbers, for loss functions that draw some.
    progress
        Whether to show a progress bar.

    Returns
    -------
    OptimizationResult
        Best and last parameters, and the history.

    Raises
    ------
    OptimizationError
        If a setting is wrong, if a parameter has no effect on the loss, if the loss is no
        scalar or has no gradient, or if the checkpoint is not this run's.
    NotFiniteError
        If the loss or its gradient is not finite; names iteration, values, and the last
        checkpoint.
    SequenceError
        If the sequence function cannot be used.
    """
    _check_settings(iterations, verify_every, verify_share, sub_pulses, on_not_finite, seed)
    started_from = {
        name: parameter
        if parameter.learning_rate is not None
        else Parameter(parameter.start, parameter.lower, parameter.upper, learning_rate)
        for name, parameter in as_parameters(parameters).items()
    }
    check_arguments(sequence_function, [*started_from, *(arguments or {})])

    ensemble = _members(phantom, loss_function)

    def problem_at(at_accuracy: float) -> _Ensemble:
        imaging = partial(
            ImagingModel,
            sequence_function,
            arguments=arguments,
            matrix=matrix,
            fov=fov,
            accuracy=at_accuracy,
            sub_pulses=sub_pulses,
            simulation=simulation,
        )
        return _Ensemble([_Problem(imaging(imaged), loss) for imaged, loss in ensemble])

    problem = problem_at(accuracy)
    finest = accuracy / 10 if verify_accuracy is None else verify_accuracy
    verification = None if verify_every is None else problem_at(finest)

    members = [m for p in (problem, verification) if p is not None for m in p.members]
    models = [member.model.sequence_model for member in members]
    torch.manual_seed(seed)
    stepper = make_stepper(method, started_from)
    run = _Run(accuracy)
    settings = fingerprint(
        {
            "functions": [identity(sequence_function), *(identity(loss) for _, loss in ensemble)],
            "parameters": {
                n: [p.start.tolist(), *list(vars(p).values())[1:]] for n, p in started_from.items()
            },
            "method": method,
            "imaging": [
                dict(arguments or {}),
                matrix,
                fov,
                accuracy,
                sub_pulses,
                dict(simulation or {}),
            ],
            "phantom": [checksum(member.model.simulator.data) for member in problem.members],
            "verification": [verify_every, verify_accuracy, verify_share],
            "seed": seed,
        }
    )
    path = None if checkpoint is None else Path(checkpoint)
    if path is not None and path.exists():
        state = load_checkpoint(path, settings)
        stepper.load(state["stepper"])
        run.load(state["run"])
        problem.use_accuracy(run.accuracy)
        torch.set_rng_state(state["random"])
        for model, traced_at in zip(models, state["traced_at"], strict=True):
            # A replay may differ from a new run of the function by rounding errors
            for parameters_then in traced_at:
                model.trace(parameters_then)
        logger.info("going on at iteration %d from %s", len(run.rows), path)

    def save() -> None:
        if path is not None:
            state = {
                "stepper": stepper.state(),
                "run": vars(run),
                "traced_at": [model.traced_at for model in models],
                "random": torch.get_rng_state(),
            }
            save_checkpoint(path, state, settings)

    last_save = time.monotonic()
    bar = tqdm(total=iterations, initial=len(run.rows), disable=not progress, unit="it")
    with bar:
        while len(run.rows) <= iterations:
            iteration = len(run.rows)
            if iteration == iterations:
                # The last evaluation makes no step: more iterations have to go on before it
                save()
            begin = time.perf_counter()
            try:
                values = stepper.values()
                evaluation = problem.evaluate(values, iteration)
                if iteration == 0:
                    _check_effect(evaluation.gradient)
                if iteration < iterations:
                    stepper.step(evaluation, partial(problem.evaluate, iteration=iteration))
            except NotFiniteError as error:
                if on_not_finite == "halve" and stepper.halve():
                    logger.warning("%s: halving the step", str(error).partition(";")[0])
                    continue
                raise NotFiniteError(f"{error}{_last_checkpoint(path)}") from error
            run.seconds += time.perf_counter() - begin
            verified = math.nan
            is_due = iteration == iterations or iteration % (verify_every or 1) == 0
            if verification is not None and is_due:
                verified = verification.evaluate(values, iteration, with_gradient=False).loss
            run.record(values, evaluation, verified)
            _report(bar, run, iterations)
            if run.accuracy > finest and run.confirmed() < verify_share:
                run.accuracy = max(run.accuracy / 10, finest)
                logger.warning(
                    "iteration %d: at accuracy %g only %.0f %% of the improvement are left; "
                    "going on at %g",
                    *(iteration, finest, 100 * run.confirmed(), run.accuracy),
                )
                problem.use_accuracy(run.accuracy)
                first = problem.evaluate(run.values[0], 0, with_gradient=False)
                run.first_loss = first.loss
            if iteration < iterations and time.monotonic() - last_save > checkpoint_seconds:
                save()
                last_save = time.monotonic()
    return run.result()


class _Problem:
    """The loss as a function of the parameters."""

    def __init__(self, model: ImagingModel, loss_function: LossFunction) -> None:
        self.model, self.loss_function = model, loss_function

    def evaluate(self, values: Values, iteration: int, with_gradient: bool = True) -> Evaluation:
        leaves = {n: v.detach().clone().requires_grad_(with_gradient) for n, v in values.items()}
        image = self.model(leaves).image
        try:
            given = self.loss_function(leaves, image)
        except PulseqZeroError:
            raise
        except Exception as error:
            raise OptimizationError(
                f"the loss function fails in iteration {iteration}: "
                f"{failure(error, self.loss_function)}"
            ) from error
        terms = terms_of(given)
        loss = sum_of(terms)
        if not bool(loss.isfinite()):
            raise NotFiniteError(_not_finite("loss", float(loss.detach()), iteration, values))
        gradient: Values = {}
        if with_gradient:
            gradient = _gradient(loss, leaves)
            for name, slope in gradient.items():
                if not bool(slope.isfinite().all()):
                    what = f"gradient of {name!r}"
                    raise NotFiniteError(_not_finite(what, math.nan, iteration, values))
        named = terms if isinstance(given, Mapping) else {}
        scalars = {name: float(term.detach()) for name, term in named.items()}
        detached = {name: leaf.detach() for name, leaf in leaves.items()}
        return Evaluation(detached, float(loss.detach()), scalars, gradient)


class _Ensemble:
    """The mean of the losses of several problems, of their terms and of their gradients."""

    def __init__(self, members: list[_Problem]) -> None:
        self.members = members

    def use_accuracy(self, accuracy: float) -> None:
        for member in self.members:
            member.model.use_accuracy(accuracy)

    def evaluate(self, values: Values, iteration: int, with_gradient: bool = True) -> Evaluation:
        each = [member.evaluate(values, iteration, with_gradient) for member in self.members]
        first, count = each[0], len(each)
        return Evaluation(
            first.values,
            sum(one.loss for one in each) / count,
            {term: sum(one.terms[term] for one in each) / count for term in first.terms},
            {n: torch.stack([one.gradient[n] for one in each]).mean(0) for n in first.gradient},
        )


def _check_settings(
    iterations: int,
    verify_every: int | None,
    verify_share: float,
    sub_pulses: SubPulses,
    on_not_finite: OnNotFinite,
    seed: int,
) -> None:
    cuts = list(sub_pulses.values()) if isinstance(sub_pulses, Mapping) else [sub_pulses]
    counts = [("iterations", iterations), *(("sub_pulses", count) for count in cuts)]
    if verify_every is not None:
        counts.append(("verify_every", verify_every))
    for name, value in [*counts, ("seed", seed)]:
        if not isinstance(value, int):
            raise OptimizationError(f"{name} is {value!r}, but must be a whole number")
    for name, count in counts:
        if count < 1:
            raise OptimizationError(f"{name} is {count}, but must be at least 1")
    if not 0 <= verify_share <= 1:
        raise OptimizationError(f"verify_share is {verify_share}, but must lie between 0 and 1")
    if on_not_finite not in get_args(OnNotFinite):
        raise OptimizationError(
            f"on_not_finite is {on_not_finite!r}, but must be 'stop' or 'halve'"
        )


def _members(
    phantom: Phantom | mr0.SimData | Sequence[Phantom | mr0.SimData],
    loss_function: LossFunction | Sequence[LossFunction],
) -> list[tuple[Phantom | mr0.SimData, LossFunction]]:
    """Pair the phantoms of an ensemble with their loss functions."""
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
        if not callable(loss):
            raise OptimizationError(
                f"the loss function must be a function of (parameters, image), not {loss!r}"
            )
    return list(zip(phantoms, losses, strict=True))


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


def _check_effect(gradient: Values) -> None:
    for name, slope in gradient.items():
        if not bool(slope.any()):
            raise OptimizationError(
                f"parameter {name!r} has no effect on the loss at the start values; remove it, "
                "or start elsewhere"
            )


def _not_finite(what: str, value: float, iteration: int, values: Values) -> str:
    shown = ", ".join(f"{n} = {_short(v)}" for n, v in values.items())
    return (
        f"the {what} is {value} in iteration {iteration} at {shown}; "
        "lower the learning rate, set bounds, or halve the step by on_not_finite='halve'"
    )


def _last_checkpoint(path: Path | None) -> str:
    return f"; the last good checkpoint is {path}" if path is not None and path.exists() else ""


def _short(values: Tensor) -> str:
    if values.numel() == 1:
        return f"{values.item():.5g}"
    return f"{values.min().item():.4g}..{values.max().item():.4g}"


@dataclass
class _Run:
    """Everything recorded so far; what a checkpoint keeps beside the optimizer's state."""

    accuracy: float
    rows: list[dict[str, float]] = field(default_factory=list)
    values: list[Values] = field(default_factory=list)
    seconds: float = 0.0
    # Of the start, at the accuracy that is used now
    first_loss: float = math.nan

    def load(self, state: Mapping[str, Any]) -> None:
        for name, value in state.items():
            setattr(self, name, value)

    def record(self, values: Values, evaluation: Evaluation, verified: float) -> None:
        row = {
            "iteration": len(self.rows),
            "loss": evaluation.loss,
            "verified_loss": verified,
            "accuracy": self.accuracy,
            **evaluation.terms,
            "seconds": self.seconds,
        }
        if not self.rows:
            self.first_loss = evaluation.loss
        self.rows.append(row)
        self.values.append(values)

    def confirmed(self) -> float:
        """Share of the improvement since the start that the verification has just confirmed.

        All of it, where nothing was verified or has improved.
        """
        improvement = self.first_loss - self.rows[-1]["loss"]
        verified = self.rows[0]["verified_loss"] - self.rows[-1]["verified_loss"]
        if math.isnan(verified) or improvement <= 0:
            return 1.0
        return verified / improvement

    def result(self) -> OptimizationResult:
        history = pd.DataFrame(self.rows).astype({"iteration": int})
        judged = history["verified_loss"] if history["verified_loss"].notna().any() else None
        best = int((history["loss"] if judged is None else judged).idxmin())
        return OptimizationResult(
            best=self.values[best],
            last=self.values[-1],
            best_iteration=best,
            history=history,
            parameters={n: torch.stack([v[n] for v in self.values]) for n in self.values[0]},
        )


def _report(bar: tqdm[Any], run: _Run, iterations: int) -> None:
    row, values = run.rows[-1], run.values[-1]
    iteration = int(row["iteration"])
    shown = {name: _short(value) for name, value in values.items()}
    bar.set_postfix({"loss": f"{row['loss']:.5g}", **shown})
    if iteration > 0:
        bar.update()
    if iteration % 10 == 0 or iteration == iterations:
        left = run.seconds / (iteration + 1) * (iterations - iteration)
        logger.info(
            "iteration %d of %d: loss %.6g, verified %.6g, %s, %.0f s left",
            *(iteration, iterations, row["loss"], row["verified_loss"]),
            *(", ".join(f"{n} {v}" for n, v in shown.items()), left),
        )
