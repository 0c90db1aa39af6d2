"""Check the exported sequences of an experiment against the limits that a scanner has."""

import logging
import math
from pathlib import Path
from typing import Any

import pandas as pd

from pulseq_zero.evaluation import flip_angles_of
from pulseq_zero.experiment import sequence_setup, stage_values
from pulseq_zero.limits import check_limits, relative_sar
from pulseq_zero.logs import logged
from pulseq_zero.seq_files import read_seq
from pulseq_zero.store import save_table

logger = logging.getLogger("pulseq_zero")


def main(
    experiment: dict[str, Any],
    rf_limits: dict[str, float],
    optimization: Path,
    sequences: dict[str, Path],
    limits: Path,
) -> None:
    setup = sequence_setup(experiment)
    flips = flip_angles_of(experiment)
    tables = []
    for stage, seq in sequences.items():
        # A file states no limits: those of the system that the script sets up
        values = stage_values(setup, stage, optimization)
        made = setup.sequence(values)
        table = check_limits(read_seq(seq), made.system, rf_limits)
        for row in table[table["passed"].eq(False)].itertuples():
            logger.warning(
                "%s: %s is %g %s, above %g", stage, row.quantity, row.value, row.unit, row.limit
            )
        if flips is not None:
            proxy = float(relative_sar(values[flips], setup.start[flips]))
            table.loc[len(table)] = ["relative_sar", proxy, "", math.nan, pd.NA]
        table.insert(0, "stage", stage)
        tables.append(table)
    save_table(limits, pd.concat(tables))


if "snakemake" in globals():
    with logged(snakemake.log[0]):
        main(
            snakemake.params.experiment,
            snakemake.params.rf_limits,
            Path(snakemake.input.optimization),
            {
                "start": Path(snakemake.input.start),
                "optimized": Path(snakemake.input.optimized),
            },
            Path(snakemake.output.limits),
        )
