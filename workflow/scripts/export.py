"""Write the `.seq` file of a stage by the unchanged script, and check that it is unchanged."""

import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pulseq_zero.experiment import plain, sequence_setup, stage_values
from pulseq_zero.logs import logged
from pulseq_zero.steps.export import export_stage
from pulseq_zero.store import save_json


def main(
    experiment: dict[str, Any],
    stage: str,
    optimization: Path | None,
    plain_script: Path,
    traced: Path,
    seq: Path,
    check: Path,
) -> None:
    sequence = export_stage(experiment, stage, optimization, seq)
    setup = sequence_setup(experiment)
    values = stage_values(setup, stage, optimization)
    exported = seq.read_bytes()
    by_pypulseq_alone = write_plainly(
        plain_script, experiment["sequence"]["function"], plain(values), setup.arguments
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
