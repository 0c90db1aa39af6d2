"""Write the `.seq` file of a stage by the unchanged script, and check that it is unchanged."""

import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pulseq_zero.errors import SequenceError
from pulseq_zero.experiment import plain, sequence_setup, stage_values
from pulseq_zero.logs import logged
from pulseq_zero.store import atomic_path, save_json


def main(
    experiment: dict[str, Any],
    stage: str,
    optimization: Path | None,
    plain_script: Path,
    traced: Path,
    seq: Path,
    check: Path,
) -> None:
    setup = sequence_setup(experiment)
    values = stage_values(setup, stage, optimization)
    sequence = setup.sequence(values)
    timing_is_right, timing_errors = sequence.check_timing()
    if not timing_is_right:
        raise SequenceError(
            f"the sequence of stage {stage} breaks PyPulseq's timing check: {timing_errors[0]}"
        )
    with atomic_path(seq) as path:
        sequence.write(str(path))
    exported = seq.read_bytes()
    by_pypulseq_alone = write_plainly(
        plain_script, experiment["sequence"]["function"], plain(values), setup.arguments
    )
    save_json(
        check,
        {
            "identical_to_plain_pypulseq": exported == by_pypulseq_alone,
            "identical_to_traced": exported == traced.read_bytes(),
            "timing_check_passed": timing_is_right,
            "duration_s": float(sequence.duration()[0]),
            "definitions": {k: v for k, v in sequence.definitions.items() if k in ("FOV", "Name")},
        },
    )


def write_plainly(
    script: Path, function: str, given: dict[str, Any], arguments: dict[str, Any]
) -> bytes:
    """Run the sequence function in a fresh Python that never sees pulseq-zero."""
    values = {k: v.tolist() if hasattr(v, "tolist") else v for k, v in given.items()}
    with TemporaryDirectory() as folder:
        output = Path(folder) / "plain.seq"
        command = [sys.executable, str(script), function, json.dumps({**values, **arguments})]
        subprocess.run([*command, str(output)], check=True)
        return output.read_bytes()


if "snakemake" in globals():
    with logged(snakemake.log[0]):
        main(
            snakemake.params.experiment,
            snakemake.wildcards.stage,
            Path(snakemake.input.optimization) if snakemake.input.optimization else None,
            Path(snakemake.input.plain),
            Path(snakemake.input.traced),
            Path(snakemake.output.seq),
            Path(snakemake.output.check),
        )
