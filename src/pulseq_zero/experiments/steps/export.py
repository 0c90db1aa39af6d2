"""Write the `.seq` file of a stage by the unchanged script."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pypulseq

from pulseq_zero.conversion.rasters import timing_fault
from pulseq_zero.errors import SequenceError
from pulseq_zero.experiments.experiment import plain, sequence_setup, stage_values
from pulseq_zero.experiments.settings import Experiment
from pulseq_zero.files.store import atomic_path, save_json

SECTIONS = ("sequence", "parameters")


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
        called with the function's reference, its arguments as JSON, and the file to write.
    traced
        The ``.seq`` file as it was written with traced numbers.
    check
        What was found, as JSON.
    """
    sequence = export_stage(experiment, stage, seq, optimization)
    setup = sequence_setup(experiment.sequence, experiment.parameters)
    values = stage_values(setup, stage, optimization)
    exported = seq.read_bytes()
    by_pypulseq_alone = _write_plainly(
        plain_script, experiment.sequence.function, {**plain(values), **setup.arguments}
    )
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
    experiment: Experiment, stage: str, seq: Path, optimization: Path | None = None
) -> pypulseq.Sequence:
    """Run the unchanged sequence function with plain numbers and write what it returns.

    Parameters
    ----------
    experiment
        The experiment.
    stage
        ``start``, ``optimized`` or ``iteration_N``.
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
        If the function fails, or the sequence breaks PyPulseq's timing check.
    """
    setup = sequence_setup(experiment.sequence, experiment.parameters)
    sequence = setup.sequence(stage_values(setup, stage, optimization))
    timing_is_right, timing_errors = sequence.check_timing()
    if not timing_is_right:
        raise SequenceError(
            f"the sequence of stage {stage} breaks PyPulseq's timing check: "
            f"{timing_fault(timing_errors[0])}"
        )
    with atomic_path(seq) as path:
        sequence.write(str(path))
    return sequence


def _write_plainly(script: Path, function: str, arguments: Mapping[str, Any]) -> bytes:
    """Run the sequence function in a fresh Python that never sees pulseq-zero."""
    values = {k: v.tolist() if hasattr(v, "tolist") else v for k, v in arguments.items()}
    with TemporaryDirectory() as folder:
        output = Path(folder) / "plain.seq"
        command = [sys.executable, str(script), function, json.dumps(values), str(output)]
        subprocess.run(command, check=True)
        return output.read_bytes()
