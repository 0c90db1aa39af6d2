"""Fail where a result does not stand."""

from pathlib import Path

from pulseq_zero.evaluation import require_scans_agree
from pulseq_zero.logs import logged
from pulseq_zero.store import load_json
from pulseq_zero.validation import require_passed

if "snakemake" in globals():
    with logged(snakemake.log[0]):
        require_passed(load_json(snakemake.input.validation))
        evaluations = map(load_json, map(Path, snakemake.input.evaluations))
        require_scans_agree(dict(zip(snakemake.params.runs, evaluations, strict=True)))
