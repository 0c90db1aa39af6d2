"""Write the `.seq` file of a stage by the unchanged script."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pypulseq

from pulseq_zero.errors import SequenceError
from pulseq_zero.experiment import sequence_setup, stage_values
from pulseq_zero.store import atomic_path


def export_stage(
    experiment: Mapping[str, Any], stage: str, optimization: Path | None, seq: Path
) -> pypulseq.Sequence:
    """Run the unchanged sequence function with plain numbers and write what it returns.

    Parameters
    ----------
    experiment
        Content of the experiment's file.
    stage
        ``start``, ``optimized`` or ``iteration_N``.
    optimization
        File with the parameters of all iterations; not needed for the start.
    seq
        The ``.seq`` file.

    Returns
    -------
    pypulseq.Sequence
        The sequence that was written.

    Raises
    ------
    SequenceError
        If the function fails, or the sequence breaks PyPulseq's timing check.
    """
    setup = sequence_setup(experiment)
    sequence = setup.sequence(stage_values(setup, stage, optimization))
    timing_is_right, timing_errors = sequence.check_timing()
    if not timing_is_right:
        raise SequenceError(
            f"the sequence of stage {stage} breaks PyPulseq's timing check: {timing_errors[0]}"
        )
    with atomic_path(seq) as path:
        sequence.write(str(path))
    return sequence
