"""Check an experiment before it runs: whether it works, has gradients, and can be played."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TextIO

import pandas as pd
from rich.table import Table
from torch import Tensor

from pulseq_zero.cli.project import Project
from pulseq_zero.conversion.rasters import timing_fault
from pulseq_zero.errors import PulseqZeroError
from pulseq_zero.experiments.experiment import SequenceSetup
from pulseq_zero.experiments.models import SequenceModels, setups_of, start_images
from pulseq_zero.experiments.optimization import optimize_experiment
from pulseq_zero.experiments.stages import START, of_sequence
from pulseq_zero.experiments.steps import trace
from pulseq_zero.files.seq import read_seq
from pulseq_zero.optimization.limits import check_limits
from pulseq_zero.phantom import build_phantom
from pulseq_zero.tracing import GradientLossWarning, check_gradients

# Relative difference of gradients from finite differences that deserves a look
_GRADIENT_ERROR = 1e-5

# How far from the start they are compared; no fraction that rasters share with a start value
_OFF_THE_RASTER = 1e-4 / math.sqrt(3)

_UNROUNDED = (
    "the parameters were moved a little, as an optimizer does; round the durations of blocks in "
    "the sequence function, as in round(time / raster) * raster"
)
_ONLY_ROUNDED = (
    "what {name} moves, if anything, is rounded to a raster: small differences have nothing to "
    "compare with; the loss after a step shows whether its gradient leads downhill"
)
_NOT_LOWER = (
    "the first step does not make the loss lower; lower the learning rate, or look whether the "
    "start values are the best already"
)


@dataclass(frozen=True)
class Check:
    """One thing that was checked.

    Attributes
    ----------
    name
        What.
    passed
        Whether it is right; None where nothing says what is.
    value, limit
        What was found, and what is allowed.
    notes
        What went wrong, in sentences.
    """

    name: str
    passed: bool | None
    value: str = ""
    limit: str = ""
    notes: tuple[str, ...] = field(default=())


def checks_of(project: Project, say: Callable[[str], None]) -> list[Check]:
    """Check an experiment whose files have been read.

    Parameters
    ----------
    project
        The experiment.
    say
        Called with a line of text at every step.

    Returns
    -------
    list
        Sequence, timing and limits, tracing, gradients, and the first step of the optimization.
    """
    checks: list[Check] = []
    is_playable = True
    with _warnings_once():
        for name, setup in setups_of(project.experiment).items():
            of_it, is_made = _check_sequence(project, name, setup, say)
            checks += of_it
            is_playable &= is_made
        if is_playable:
            say("Simulating it, and taking a step of the optimization")
            checks += _attempt("first step", lambda: _first_step(project))
    return checks


def _check_sequence(
    project: Project, name: str, setup: SequenceSetup, say: Callable[[str], None]
) -> tuple[list[Check], bool]:
    """Check one of the sequences, and say whether it could be made."""
    with TemporaryDirectory() as place:
        folder, of_it = Path(place), f" {name}" if name else ""
        say(f"Running the sequence{of_it}")
        checks = _attempt("sequence runs", lambda: _sequence(project, setup, folder))
        is_made = (folder / "plain.seq").is_file()
        if is_made:
            say("Tracing it")
            checks += _attempt("tracing", lambda: _tracing(project, name, folder))
            say("Comparing gradients of its events with finite differences")
            checks += _attempt("gradients of events", lambda: _gradients(setup))
    return [replace(check, name=f"{check.name}{of_it and ','}{of_it}") for check in checks], is_made


def table(checks: Iterable[Check]) -> Table:
    """Arrange checks as a table."""
    shown = Table("", "passed", "value", "limit", box=None, pad_edge=False, header_style="bold")
    words = {True: "yes", False: "[red]NO[/red]", None: "-"}
    for check in checks:
        shown.add_row(check.name, words[check.passed], check.value, check.limit)
    return shown


def remarks(checks: Iterable[Check]) -> list[str]:
    """List what went wrong, each once, with the names of the checks that found it."""
    found: dict[str, list[str]] = {}
    for check in checks:
        for note in check.notes:
            found.setdefault(note, []).append(check.name)
    return [f"{', '.join(names)}: {note}" for note, names in found.items()]


@contextmanager
def _warnings_once() -> Iterator[None]:
    """Show a warning once, however often the sequence runs."""
    shown, show = set(), warnings.showwarning

    def show_once(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if (category, str(message)) not in shown:
            shown.add((category, str(message)))
            show(message, category, filename, lineno, file, line)

    with warnings.catch_warnings():
        warnings.showwarning = show_once
        yield


def _attempt(name: str, checks: Callable[[], list[Check]]) -> list[Check]:
    """Let an error that explains itself be a check that failed."""
    try:
        return checks()
    except PulseqZeroError as error:
        return [Check(name, False, notes=(str(error),))]


def _sequence(project: Project, setup: SequenceSetup, folder: Path) -> list[Check]:
    made = setup.sequence(setup.start)
    runs = [
        Check("sequence runs", True),
        Check("scan time", None, f"{made.duration()[0]:.4g} s"),
    ]
    timing_is_right, errors = made.check_timing()
    if not timing_is_right:
        note = timing_fault(errors[0])
        return [*runs, Check("timing errors", False, str(len(errors)), "0", (note,))]
    # An optimizer goes to values between the rasters, where a script that does not round fails
    timing_is_right, errors = setup.sequence(_off_the_raster(setup)).check_timing()
    between = Check("timing errors between rasters", timing_is_right, str(len(errors)), "0")
    if not timing_is_right:
        note = f"{timing_fault(errors[0])}, where {_UNROUNDED}"
        return [*runs, replace(between, notes=(note,))]
    made.write(str(folder / "plain.seq"))
    given = project.config.limits
    limits = check_limits(read_seq(folder / "plain.seq"), made.system, given.rf, given.pns_hardware)
    return [
        *runs,
        between,
        *(
            Check(
                row.quantity.replace("_", " "),
                None if pd.isna(row.passed) else bool(row.passed),
                f"{row.value:.4g} {row.unit}",
                "" if pd.isna(row.limit) else f"{row.limit:.4g} {row.unit}",
            )
            for row in limits.itertuples()
        ),
    ]


def _tracing(project: Project, name: str, folder: Path) -> list[Check]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", GradientLossWarning)
        stage = of_sequence(START, name)
        trace.run(project.experiment, stage, folder / "sequence", folder / "traced.seq")
    lost = tuple(
        str(warning.message) for warning in caught if warning.category is GradientLossWarning
    )
    plain, traced = ((folder / f"{name}.seq").read_bytes() for name in ("plain", "traced"))
    return [
        Check(
            "traced file is the plain one",
            plain == traced,
            notes=()
            if plain == traced
            else ("the sequence differs when it is traced: does it draw random numbers?",),
        ),
        Check("gradients lost", not lost, str(len(lost)), "0", notes=lost),
    ]


def _gradients(setup: SequenceSetup) -> list[Check]:
    moved = setup.given(_off_the_raster(setup))
    report = check_gradients(setup.function, moved, setup.arguments)
    checks = []
    for name in moved:
        of_it = [check for check in report.checks if check.parameter == name]
        worst = max(of_it, key=lambda check: check.error, default=None)
        error = 0.0 if worst is None else worst.error
        passed: bool | None = error <= _GRADIENT_ERROR
        notes: tuple[str, ...] = ()
        if name in report.decisions:
            # Where a comparison of the script comes out differently, differences mean nothing
            passed, notes = None, (f"{name}: {report.decisions[name]}",)
        elif worst is None or not any(check.difference for check in of_it):
            passed, notes = None, (_ONLY_ROUNDED.format(name=name),)
        elif not passed:
            notes = (
                f"the gradient of {worst.place} by {name} is {worst.traced:.6g}, finite "
                f"differences give {worst.difference:.6g}",
            )
        checks.append(
            Check(
                f"gradients of events by {name}",
                passed,
                f"{error:.1e}",
                f"{_GRADIENT_ERROR:.0e}",
                notes,
            )
        )
    return checks


def _off_the_raster(setup: SequenceSetup) -> dict[str, Tensor]:
    """Move the start values a little: round ones often lie where rounding to a raster jumps."""
    moved = {}
    for name, start in setup.start.items():
        step = _OFF_THE_RASTER * float(start.abs().max())
        within = bool((start + step <= setup.parameters[name].upper).all())
        moved[name] = start + step if within else start - step
    return moved


def _first_step(project: Project) -> list[Check]:
    experiment, simulation = project.experiment, project.config.simulation
    phantoms = list(map(build_phantom, project.phantoms))
    setups = setups_of(experiment)
    models = SequenceModels.of(
        setups, phantoms[0], experiment.image, simulation.accuracy, simulation.simulator
    )
    start = start_images(experiment, models, next(iter(setups.values())).start)
    one_step = {"iterations": 1, "verify_every": None, "progress": False}
    result, _ = optimize_experiment(experiment, simulation, phantoms, start, **one_step)
    before, after = result.history["loss"]
    pixels = ", ".join(" x ".join(map(str, image.shape)) for image in start.values())
    return [
        Check("image at the start", True, f"{pixels} pixels"),
        Check("loss at the start", True, f"{before:.5g}"),
        Check(
            "loss after a step",
            True if after < before else None,
            f"{after:.5g}",
            f"{before:.5g}",
            () if after < before else (_NOT_LOWER,),
        ),
    ]
