"""Check the exported sequences of an experiment against the limits that a scanner has."""

from __future__ import annotations

import logging
import math

import pandas as pd

from pulseq_zero.experiments.experiment import stage_values
from pulseq_zero.experiments.layout import RunFiles
from pulseq_zero.experiments.models import setups_of
from pulseq_zero.experiments.settings import Experiment, LimitSettings
from pulseq_zero.experiments.stages import OPTIMIZED, START, of_sequence
from pulseq_zero.files.seq import read_seq
from pulseq_zero.files.store import save_table
from pulseq_zero.optimization.limits import check_limits
from pulseq_zero.optimization.penalties import relative_sar

logger = logging.getLogger(__name__)

SECTIONS = ("sequence", "sequences", "parameters", "loss")


def run(
    experiment: Experiment,
    given: LimitSettings,
    files: RunFiles,
    start: RunFiles,
) -> None:
    """Check the start and the optimized sequence.

    Parameters
    ----------
    experiment
        The experiment.
    given
        The limits, see `pulseq_zero.optimization.limits.check_limits`.
    files, start
        The files of the run, of which ``limits`` is made, and of the run that has its start.
    """
    flips = experiment.flip_angles
    tables = []
    stages = {
        of_sequence(point, name): (of, setup)
        for name, setup in setups_of(experiment).items()
        for point, of in ((START, start), (OPTIMIZED, files))
    }
    for stage, (of, setup) in stages.items():
        # A file states no limits: those of the system that the script sets up
        values = stage_values(setup, stage, files.parameters)
        made = setup.sequence(values)
        sequence = read_seq(of.seq(stage), check_signature=True)
        table = check_limits(sequence, made.system, given.rf, given.pns_hardware)
        for row in table[table["passed"].eq(False)].itertuples():
            logger.warning(
                "%s: %s is %g %s, above %g", stage, row.quantity, row.value, row.unit, row.limit
            )
        if flips is not None:
            proxy = float(relative_sar(values[flips], setup.start[flips]))
            table.loc[len(table)] = ["relative_sar", proxy, "", math.nan, pd.NA]
        table.insert(0, "stage", stage)
        tables.append(table)
    save_table(files.limits, pd.concat(tables))
