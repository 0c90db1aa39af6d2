"""Write the `.seq` file of a stage by the unchanged script."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pypulseq

from pulseq_zero.conversion.rasters import timing_fault
from pulseq_zero.errors import SequenceError
from pulseq_zero.experiments.experiment import stage_values
from pulseq_zero.experiments.models import setups_of
from pulseq_zero.experiments.settings import Experiment
from pulseq_zero.experiments.stages import sequence_of
from pulseq_zero.files.store import atomic_path, save_json
from pulseq_zero.optimization.parameters import plain

SECTIONS = ("sequence", "sequences", "parameters")


def run(
    experiment: Experiment,
    stage: str,
    plain_script: Path,
    traced: Path,
    seq: Path,
    check: Path,
    optimization: Path | None = None,
) -> None:
    """Export the sequence of a stage, and check that it is what PyPulseq alone writes.

    Parameters
    ----------
    experiment, stage, seq, optimization
        As for `export_stage`.
    plain_script
        A program that runs the sequence function without this package and writes its sequence,
        called with the function's reference, a JSON file of ``parameters`` and ``arguments``, and
        the file to write.
    traced
        The ``.seq`` file as it was written with traced numbers.
    check
        What was found, as JSON.
    """
    sequence = export_stage(experiment, stage, traced, seq, optimization)
    setup = setups_of(experiment)[sequence_of(stage)]
    values = setup.given(stage_values(setup, stage, optimization))
    given = {"parameters": plain(values), "arguments": setup.arguments}
    function = experiment.sequences_by_name[sequence_of(stage)].function
    by_pypulseq_alone = _write_plainly(plain_script, function, given)
    exported = seq.read_bytes()
    _require_equal(exported, by_pypulseq_alone, f"stage {stage}, in another process")
    save_json(
        check,
        {
            "identical_to_plain_pypulseq": exported == by_pypulseq_alone,
            "identical_to_traced": exported == traced.read_bytes(),
            "timing_check_passed": sequence.check_timing()[0],
            "duration_s": float(sequence.duration()[0]),
            "definitions": {k: v for k, v in sequence.definitions.items() if k in ("FOV", "Name")},
        },
    )


def export_stage(
    experiment: Experiment, stage: str, traced: Path, seq: Path, optimization: Path | None = None
) -> pypulseq.Sequence:
    """Run the unchanged sequence function with plain numbers and write what it returns.

    Parameters
    ----------
    experiment
        The experiment.
    stage
        ``start``, ``optimized`` or ``iteration_N``, of one of several sequences ``start/NAME``.
    traced
        The ``.seq`` file as it was written with traced numbers: what was simulated.
    seq
        The ``.seq`` file.
    optimization
        File with the parameters of all iterations; not needed for the start.

    Returns
    -------
    pypulseq.Sequence
        The sequence that was written.

    Raises
    ------
    SequenceError
        If the function fails, the sequence breaks PyPulseq's timing check, or it is another one
        than that which was simulated.
    """
    setup = setups_of(experiment)[sequence_of(stage)]
    values = stage_values(setup, stage, optimization)
    sequence = setup.sequence(values)
    timing_is_right, timing_errors = sequence.check_timing()
    if not timing_is_right:
        raise SequenceError(
            f"the sequence of stage {stage} breaks PyPulseq's timing check: "
            f"{timing_fault(timing_errors[0])}"
        )
    with atomic_path(seq) as path:
        sequence.write(str(path))
        written = path.read_bytes()
        _require_equal(traced.read_bytes(), written, f"stage {stage}")
        with atomic_path(path) as again:
            setup.sequence(values).write(str(again))
            _require_equal(written, again.read_bytes(), f"stage {stage}")
    return sequence


def _require_equal(before: bytes, again: bytes, place: str) -> None:
    if before != again:
        raise SequenceError(
            f"the sequence function gave another sequence when it ran again ({place}): it must be "
            "a function of its arguments alone; seed its random numbers in it, and keep no state"
        )


def _write_plainly(script: Path, function: str, given: Mapping[str, Mapping[str, Any]]) -> bytes:
    """Run the sequence function in a fresh Python that never sees tracing."""
    with TemporaryDirectory() as folder:
        arguments, output = Path(folder) / "given.json", Path(folder) / "plain.seq"
        # In a file: a command line holds no thousands of values
        save_json(arguments, given)
        command = [sys.executable, str(script), function, str(arguments), str(output)]
        done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
        if done.returncode != 0 or not output.is_file():
            said = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
            raise SequenceError(
                f"{function} cannot be run in a Python process of its own, as a user would: {said}"
            )
        return output.read_bytes()
