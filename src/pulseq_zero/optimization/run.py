"""The course of an optimization: steps, verification, checkpoints, and the record of all."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from tqdm.auto import tqdm

from pulseq_zero.errors import NotFiniteError, OptimizationError
from pulseq_zero.files.loading import call
from pulseq_zero.files.paths import exists
from pulseq_zero.optimization.checkpoints import load_checkpoint, save_checkpoint
from pulseq_zero.optimization.parameters import Parameter
from pulseq_zero.optimization.problem import Ensemble, short
from pulseq_zero.optimization.settings import OptimizationSettings
from pulseq_zero.optimization.state import OptimizationState
from pulseq_zero.optimization.steppers import Evaluation, Stepper, Values
from pulseq_zero.optimization.training import ModuleStates, Training

logger = logging.getLogger(__name__)

# Losses that differ by less than this part, as by rounding in float32, are the same.
_ROUNDING = 1e-6


@dataclass(frozen=True, repr=False)
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
    modules
        For each module that was trained along its state dict of the best iteration.
    interrupted
        Whether it was ended by an interrupt from the keyboard.
    """

    best: Values
    last: Values
    best_iteration: int
    history: pd.DataFrame
    parameters: Values
    modules: ModuleStates = field(default_factory=list)
    interrupted: bool = False

    def __repr__(self) -> str:
        loss, start = self.history["loss"], self.at(0)
        found = [f"{name} {short(start[name])} -> {short(self.best[name])}" for name in self.best]
        return (
            f"OptimizationResult(best iteration {self.best_iteration} of {len(loss) - 1}: "
            f"loss {loss.iloc[0]:.4g} -> {loss[self.best_iteration]:.4g}, {', '.join(found)})"
        )

    @property
    def seconds_per_iteration(self) -> float:
        """Mean wall time of an iteration [s], without verification."""
        return float(self.history["seconds"].iloc[-1]) / max(1, len(self.history) - 1)

    def at(self, iteration: int) -> Values:
        """Parameters at an iteration."""
        return {name: values[iteration] for name, values in self.parameters.items()}


@dataclass
class Record:
    """Everything recorded so far; what a checkpoint keeps beside the optimizer's state."""

    accuracy: float
    rows: list[dict[str, float]] = field(default_factory=list)
    values: list[Values] = field(default_factory=list)
    seconds: float = 0.0
    # Of the start, at the accuracy that is used now
    first_loss: float = math.nan
    # Of the modules, at the best iteration
    modules: ModuleStates = field(default_factory=list)

    def load(self, state: Mapping[str, Any]) -> None:
        """Take up what a checkpoint has kept."""
        for name, value in state.items():
            setattr(self, name, value)

    def add(self, values: Values, evaluation: Evaluation, verified: float) -> None:
        """Record an iteration."""
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

    def best_iteration(self) -> int:
        """Find the iteration with the lowest loss, or the lowest verified one."""
        verified = pd.Series([row["verified_loss"] for row in self.rows])
        losses = pd.Series([row["loss"] for row in self.rows])
        return int((verified if verified.notna().any() else losses).idxmin())

    def result(self, interrupted: bool) -> OptimizationResult:
        """Choose the best iteration."""
        history = pd.DataFrame(self.rows).astype({"iteration": int})
        best = self.best_iteration()
        return OptimizationResult(
            best=self.values[best],
            last=self.values[-1],
            best_iteration=best,
            history=history,
            parameters={n: torch.stack([v[n] for v in self.values]) for n in self.values[0]},
            modules=self.modules,
            interrupted=interrupted,
        )


class Run:
    """One optimization.

    Parameters
    ----------
    settings
        Its settings.
    problem, verification
        What is made lower, and the same more accurately, if it is to be verified.
    stepper
        The optimizer.
    training
        What is trained along.
    parameters
        What it started from.
    fingerprint
        What a checkpoint must share with the run that goes on from it.
    """

    def __init__(
        self,
        settings: OptimizationSettings,
        problem: Ensemble,
        verification: Ensemble | None,
        stepper: Stepper,
        training: Training,
        parameters: Mapping[str, Parameter],
        fingerprint: str,
    ) -> None:
        self.settings, self.problem, self.verification = settings, problem, verification
        self.stepper, self.training, self.fingerprint = stepper, training, fingerprint
        self.parameters = parameters
        self.record = Record(settings.accuracy)
        self.checkpoint = None if settings.checkpoint is None else Path(settings.checkpoint)
        self._ensembles = [problem, *([verification] if verification else [])]

    def resume(self) -> None:
        """Go on from the checkpoint, if there is one."""
        if self.checkpoint is None or not exists(self.checkpoint):
            return
        state = load_checkpoint(self.checkpoint, self.fingerprint)
        self.stepper.load(state["stepper"])
        self.training.load(state["training"])
        self.record.load(state["run"])
        self.problem.use_accuracy(self.record.accuracy)
        torch.set_rng_state(state["random"])
        for ensemble, memories in zip(self._ensembles, state["memories"], strict=True):
            ensemble.recall(memories)
        logger.info("going on at iteration %d from %s", len(self.record.rows), self.checkpoint)

    def finish(self) -> OptimizationResult:
        """Do all iterations that are left, or those up to an interrupt from the keyboard."""
        interrupted = False
        try:
            self._finish()
        except KeyboardInterrupt:
            if not self.record.rows:
                raise
            interrupted = True
            logger.warning("interrupted: the result is that of %d iterations", self._last)
        if self.training.modules:
            self.training.load_states(self.record.modules)
        return self.record.result(interrupted)

    @property
    def _last(self) -> int:
        return len(self.record.rows) - 1

    def _finish(self) -> None:
        rows, iterations = self.record.rows, self.settings.iterations
        last_save = time.monotonic()
        is_quiet = not self.settings.progress
        with tqdm(total=iterations, initial=len(rows), disable=is_quiet, unit="it") as bar:
            while len(rows) <= iterations:
                if len(rows) == iterations:
                    # The last evaluation makes no step: more iterations have to go on before it
                    self._save()
                state = self._iterate(len(rows))
                if state is None:
                    continue
                _report(bar, self.record, iterations)
                if self._is_to_end(state):
                    logger.info("iteration %d: ended by the callback", state.iteration)
                    return
                self._tighten()
                is_due = time.monotonic() - last_save > self.settings.checkpoint_seconds
                if len(rows) <= iterations and is_due:
                    self._save()
                    last_save = time.monotonic()

    def _is_to_end(self, state: OptimizationState) -> bool:
        """Ask the callback."""
        callback = self.settings.callback
        return callback is not None and call(
            "callback", lambda: bool(callback(state)), of=callback, error=OptimizationError
        )

    def _iterate(self, iteration: int) -> OptimizationState | None:
        """Evaluate, step, verify and record; or halve the step that led to what is not finite."""
        begin, is_last = time.perf_counter(), iteration == self.settings.iterations
        try:
            values = self.stepper.values()
            evaluation = self.problem.evaluate(values, iteration)
            if iteration == 0:
                self._check_effect(values, evaluation)
            modules = self.training.states()
            if not is_last:
                self.stepper.step(evaluation, partial(self.problem.evaluate, iteration=iteration))
                self.training.step(evaluation.module_gradient)
        except NotFiniteError as error:
            if self.settings.on_not_finite == "halve" and self.stepper.halve():
                self.training.halve()
                logger.warning("%s: halving the step", str(error).partition(";")[0])
                return None
            raise NotFiniteError(f"{error}{self._last_checkpoint()}") from error
        self.record.seconds += time.perf_counter() - begin
        verified = math.nan
        if self.verification is not None and self.settings.is_verified(iteration):
            with self.training.in_states(modules):
                verified = self.verification.evaluate(values, iteration, with_gradient=False).loss
        self.record.add(values, evaluation, verified)
        if modules and self.record.best_iteration() == iteration:
            self.record.modules = modules
        return OptimizationState(
            iteration,
            values,
            evaluation.loss,
            evaluation.terms,
            verified,
            evaluation.gradient,
            evaluation.acquired,
        )

    def _check_effect(self, values: Values, evaluation: Evaluation) -> None:
        """Stop if the loss has no slope by a parameter; say whether it has an effect."""
        for name, slope in evaluation.gradient.items():
            if bool(slope.any()):
                continue
            parameter = self.parameters[name]
            # Some steps of the optimizer, and far enough to be seen
            step = max(10 * (parameter.learning_rate or 0.0), 0.1 * float(values[name].abs().max()))
            for way in (step, -step):
                there = parameter.within(values[name] + way)
                moved = self.problem.evaluate({**values, name: there}, 0, with_gradient=False)
                if abs(moved.loss - evaluation.loss) > _ROUNDING * abs(evaluation.loss):
                    raise OptimizationError(
                        f"the loss has no slope by parameter {name!r} at its start value, though "
                        f"it is another {abs(way):.2g} away; start elsewhere"
                    )
            raise OptimizationError(
                f"parameter {name!r} has no effect on the loss at the start values, nor "
                f"{step:.2g} away from them; remove it, or start elsewhere"
            )

    def _tighten(self) -> None:
        """Go on more accurately where the verification does not confirm the improvement."""
        record, tight = self.record, self.settings.verification_accuracy
        confirmed = record.confirmed()
        if record.accuracy <= tight or confirmed >= self.settings.verify_share:
            return
        record.accuracy = max(record.accuracy / 10, tight)
        logger.warning(
            "iteration %d: at accuracy %g only %.0f %% of the improvement are left; going on at %g",
            *(len(record.rows) - 1, tight, 100 * confirmed, record.accuracy),
        )
        self.problem.use_accuracy(record.accuracy)
        first = self.problem.evaluate(record.values[0], 0, with_gradient=False)
        record.first_loss = first.loss

    def _save(self) -> None:
        if self.checkpoint is not None:
            state = {
                "stepper": self.stepper.state(),
                "training": self.training.state(),
                "run": vars(self.record),
                "memories": [ensemble.memories for ensemble in self._ensembles],
                "random": torch.get_rng_state(),
            }
            save_checkpoint(self.checkpoint, state, self.fingerprint)

    def _last_checkpoint(self) -> str:
        is_there = self.checkpoint is not None and exists(self.checkpoint)
        return f"; the last good checkpoint is {self.checkpoint}" if is_there else ""


def _report(bar: tqdm[Any], record: Record, iterations: int) -> None:
    row, values = record.rows[-1], record.values[-1]
    iteration = int(row["iteration"])
    shown = {name: short(value) for name, value in values.items()}
    bar.set_postfix({"loss": f"{row['loss']:.5g}", **shown})
    if iteration > 0:
        bar.update()
    if iteration % 10 == 0 or iteration == iterations:
        left = record.seconds / (iteration + 1) * (iterations - iteration)
        logger.info(
            "iteration %d of %d: loss %.6g, verified %.6g, %s, %.0f s left",
            *(iteration, iterations, row["loss"], row["verified_loss"]),
            *(", ".join(f"{n} {v}" for n, v in shown.items()), left),
        )
