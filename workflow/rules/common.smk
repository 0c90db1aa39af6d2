# The plan of a run, and the helpers that the rules share.

import os
import re
import sys
import warnings
from pathlib import Path

sys.path[:0] = [str(Path(workflow.basedir, place)) for place in ("workflow", "workflow/scripts")]

from pipeline_run import begin_run

# Before anything that takes its time, so that a kill finds it noted
HAS_CLEARED = workflow.is_main_process and begin_run(
    [workflow.snakemake_tmp_dir, workflow.sourcecache.runtime_cache_path]
)

from dependencies import STEPS, digest, library_files, sections_of

from pulseq_zero.errors import PulseqZeroError
from pulseq_zero.experiments import kinds
from pulseq_zero.experiments.layout import ResultFiles
from pulseq_zero.experiments.plan import PHANTOM, check_functions, read_plan
from pulseq_zero.experiments.settings import with_sections
from pulseq_zero.experiments.stages import ENDS, FULL, INSTANTANEOUS, OPTIMIZATION, OPTIMIZED
from pulseq_zero.experiments.stages import OTHER_STAGES, PATTERN, START, TIGHT, judged_by
from pulseq_zero.experiments.stages import of_sequence, point_of
from pulseq_zero.experiments.summary import as_text
from pulseq_zero.files.paths import is_file
from pulseq_zero.files.sources import sources_of
from pulseq_zero.files.store import remove_leftovers

for place in (workflow.basedir, Path.cwd()):
    if re.search("[{}]", str(place)):
        raise WorkflowError(
            f"the folder {place} has a brace in its name, which Snakemake takes for a wildcard; "
            "rename it"
        )

try:
    # Some packages make all warnings visible, also Snakemake's own, as they are imported
    with warnings.catch_warnings():
        PLAN = read_plan(config)
        if workflow.is_main_process:
            check_functions(PLAN)
except PulseqZeroError as error:
    raise WorkflowError(str(error)) from None

EXPERIMENTS, SWEEPS, RUNS = PLAN.experiments, PLAN.sweeps, PLAN.runs
SIMULATION = PLAN.config.simulation
SIMULATOR, ACCURACY = SIMULATION.simulator, SIMULATION.accuracies
OTHER_PHANTOMS = PLAN.config.other_phantoms or {}


def names(runs):
    """Pattern of the names of runs, of which there may be none."""
    return "|".join(map(re.escape, runs)) or "(?!)"


# What there are numbers of, of all experiments
NUMBERS = ["validation", "summary"]
NUMBERS += ["robustness"] * bool(EXPERIMENTS and OTHER_PHANTOMS) + ["sweep"] * bool(SWEEPS)
# Runs, and sweeps whose runs share their start
STARTING = names([*RUNS, *SWEEPS])
# Runs of one sequence, whose best stage is taken with the optimization, and of several
ALONE = names(run for run in RUNS if RUNS[run].sequence)
TOGETHER = names(run for run in RUNS if RUNS[run].sequences)
# Those whose figures have the quality of images over the iterations, and those whose figures do not
WITH_QUALITY = names(run for run in RUNS if "quality" in kinds.of(RUNS[run].figure).needs)
WITHOUT_QUALITY = names(run for run in RUNS if "quality" not in kinds.of(RUNS[run].figure).needs)
# The schematic shows the last experiment of the config
LAST = (list(EXPERIMENTS) or list(RUNS))[-1]
PICTURED = RUNS[LAST]

# Where results lie: as rules name it, and as functions of wildcards do
FILES, RESULTS = ResultFiles(Path("<results>")), ResultFiles(Path(PLAN.config.results))
RUN = FILES.run("{experiment}")
SCRIPT = "../scripts/step.py"

if HAS_CLEARED:
    remove_leftovers(RESULTS.folder)


pathvars:
    results=PLAN.config.results,
    logs=f"{PLAN.config.results}/logs",
    benchmarks=f"{PLAN.config.results}/benchmarks",


wildcard_constraints:
    experiment="|".join(map(re.escape, RUNS)),
    sweep="|".join(SWEEPS) or "(?!)",
    phantom=f"{PHANTOM}(-[0-9a-f]{{8}})?",
    stage=PATTERN,


onstart:
    # For a limit of 100 jobs a second, which so few never reach, Snakemake looks at all jobs again
    # a second after each time that it did, and once more with each job that ends: in the end a
    # tenth of a core and more.
    limit = workflow.scheduler.job_rate_limiter
    if limit and (limit.max_jobs, limit.timespan) == (100, 1):
        workflow.scheduler.job_rate_limiter = None


def code(step):
    """Digest of a step with all library files that it uses: editing one of them reruns the rule.

    As inputs, hundreds of files a job would be looked at again and again.
    """
    return digest(library_files(Path("workflow/scripts/step.py"), STEPS / f"{step}.py"))


def phantom_files(settings):
    """Files that a phantom's settings name, defaults included."""
    if isinstance(settings, dict):
        return [file for value in settings.values() for file in phantom_files(value)]
    if isinstance(settings, list):
        return [file for value in settings for file in phantom_files(value)]
    return [settings] if isinstance(settings, str) and is_file(settings) else []


for file in phantom_files([*PLAN.phantoms.values(), PLAN.config.other_phantoms]):
    if re.search("[{}]", file):
        raise WorkflowError(
            f"the phantom's file {file} has a brace in its name, which Snakemake takes for a "
            "wildcard; rename it"
        )


def sweep_of(wildcards):
    """The sweep that a run belongs to: on a cluster, the group of its jobs."""
    sweep, _, run = wildcards.experiment.partition("/")
    return sweep if run else None


def growing(amount):
    """A resource that grows with each attempt: a job killed for want of it is given more."""
    return lambda wildcards, attempt: amount * attempt


def gpus(wildcards):
    """GPUs of a step that simulates: none, unless the config's device is one."""
    return 1 if SIMULATION.device.startswith("cuda") else 0


def final_results():
    runs, figures = list(map(RESULTS.run, EXPERIMENTS)), ["phantom", "schematic", *SWEEPS]
    kinds_of_figures = ("", "_pulses", "_kspace", "_validation")
    figures += [f"{name}{shows}" for name in EXPERIMENTS for shows in kinds_of_figures]
    return [
        [RESULTS.figure(name, suffix) for name in figures for suffix in ("png", "pdf")],
        [RESULTS.figure(name, "column.pdf") for name in figures if name != "schematic"],
        [run.seq(of_sequence(OPTIMIZED, name)) for run in runs for name in names_of(run.name)],
        [run.limits for run in runs],
        [RESULTS.sweep(name) for name in SWEEPS],
        [RESULTS.numbers(name) for name in NUMBERS],
        RESULTS.nifti(PHANTOM),
        RESULTS.front_page,
    ]
