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
from pulseq_zero.optimization.checkpoints import load_checkpoint, save_checkpoint
from pulseq_zero.optimization.parameters import Parameter
from pulseq_zero.optimization.problem import Ensemble, short
from pulseq_zero.optimization.settings import OptimizationSettings
from pulseq_zero.optimization.steppers import Evaluation, Stepper, Values

logger = logging.getLogger(__name__)

# Losses that differ by less than this part, as by rounding in float32, are the same.
_ROUNDING = 1e-6


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


@dataclass
class Record:
    """Everything recorded so far; what a checkpoint keeps beside the optimizer's state."""

    accuracy: float
    rows: list[dict[str, float]] = field(default_factory=list)
    values: list[Values] = field(default_factory=list)
    seconds: float = 0.0
    # Of the start, at the accuracy that is used now
    first_loss: float = math.nan

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

    def result(self) -> OptimizationResult:
        """Choose the best iteration."""
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
        parameters: Mapping[str, Parameter],
        fingerprint: str,
    ) -> None:
        self.settings, self.problem, self.verification = settings, problem, verification
        self.stepper, self.fingerprint = stepper, fingerprint
        self.parameters = parameters
        self.record = Record(settings.accuracy)
        self.checkpoint = None if settings.checkpoint is None else Path(settings.checkpoint)
        members = [*problem.members, *(verification.members if verification else ())]
        self._models = [member.model for member in members]

    def resume(self) -> None:
        """Go on from the checkpoint, if there is one."""
        if self.checkpoint is None or not self.checkpoint.exists():
            return
        state = load_checkpoint(self.checkpoint, self.fingerprint)
        self.stepper.load(state["stepper"])
        self.record.load(state["run"])
        self.problem.use_accuracy(self.record.accuracy)
        torch.set_rng_state(state["random"])
        for model, memory in zip(self._models, state["memories"], strict=True):
            model.recall(memory)
        logger.info("going on at iteration %d from %s", len(self.record.rows), self.checkpoint)

    def finish(self) -> OptimizationResult:
        """Do all iterations that are left."""
        rows, iterations = self.record.rows, self.settings.iterations
        last_save = time.monotonic()
        is_quiet = not self.settings.progress
        with tqdm(total=iterations, initial=len(rows), disable=is_quiet, unit="it") as bar:
            while len(rows) <= iterations:
                if len(rows) == iterations:
                    # The last evaluation makes no step: more iterations have to go on before it
                    self._save()
                if not self._iterate(len(rows)):
                    continue
                _report(bar, self.record, iterations)
                self._tighten()
                is_due = time.monotonic() - last_save > self.settings.checkpoint_seconds
                if len(rows) <= iterations and is_due:
                    self._save()
                    last_save = time.monotonic()
        return self.record.result()

    def _iterate(self, iteration: int) -> bool:
        """Evaluate, step, verify and record; or halve the step that led to what is not finite."""
        begin, is_last = time.perf_counter(), iteration == self.settings.iterations
        try:
            values = self.stepper.values()
            evaluation = self.problem.evaluate(values, iteration)
            if iteration == 0:
                self._check_effect(values, evaluation)
            if not is_last:
                self.stepper.step(evaluation, partial(self.problem.evaluate, iteration=iteration))
        except NotFiniteError as error:
            if self.settings.on_not_finite == "halve" and self.stepper.halve():
                logger.warning("%s: halving the step", str(error).partition(";")[0])
                return False
            raise NotFiniteError(f"{error}{self._last_checkpoint()}") from error
        self.record.seconds += time.perf_counter() - begin
        verified = math.nan
        if self.verification is not None and self.settings.is_verified(iteration):
            verified = self.verification.evaluate(values, iteration, with_gradient=False).loss
        self.record.add(values, evaluation, verified)
        return True

    def _check_effect(self, values: Values, evaluation: Evaluation) -> None:
        """Stop if the loss has no slope by a parameter; say whether it has an effect."""
        for name, slope in evaluation.gradient.items():
            if bool(slope.any()):
                continue
            parameter = self.parameters[name]
            # Some steps of the optimizer, and far enough to be seen
            step = max(10 * (parameter.learning_rate or 0.0), 0.1 * float(values[name].abs().max()))
            for way in (step, -step):
                there = (values[name] + way).clamp(parameter.lower, parameter.upper)
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
                "run": vars(self.record),
                "memories": [model.memory for model in self._models],
                "random": torch.get_rng_state(),
            }
            save_checkpoint(self.checkpoint, state, self.fingerprint)

    def _last_checkpoint(self) -> str:
        exists = self.checkpoint is not None and self.checkpoint.exists()
        return f"; the last good checkpoint is {self.checkpoint}" if exists else ""


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
