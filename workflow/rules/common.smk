# The plan of a run, and the helpers that the rules share.

import re
import subprocess
import sys
from pathlib import Path

from pulseq_zero.errors import PulseqZeroError
from pulseq_zero.experiments import kinds
from pulseq_zero.experiments.layout import ResultFiles
from pulseq_zero.experiments.plan import PHANTOM, check_functions, read_plan
from pulseq_zero.experiments.settings import with_sections
from pulseq_zero.experiments.stages import ENDS, FULL, INSTANTANEOUS, OPTIMIZATION, OPTIMIZED
from pulseq_zero.experiments.stages import PATTERN, START, TIGHT
from pulseq_zero.store import atomic_path

sys.path.insert(0, str(Path(workflow.basedir, "workflow")))

from dependencies import STEPS, library_files, sections_of

try:
    PLAN = read_plan(config)
    if workflow.is_main_process:
        check_functions(PLAN)
except PulseqZeroError as error:
    raise WorkflowError(str(error)) from None

EXPERIMENTS, SWEEPS, RUNS = PLAN.experiments, PLAN.sweeps, PLAN.runs
SIMULATION = PLAN.config.simulation
SIMULATOR, ACCURACY = SIMULATION.simulator, SIMULATION.accuracies
# The schematic shows the last experiment of the config
PICTURED = (list(EXPERIMENTS) or list(RUNS))[-1]

# Where results lie: as rules name it, and as functions of wildcards do
FILES, RESULTS = ResultFiles(Path("<results>")), ResultFiles(Path(PLAN.config.results))
RUN = FILES.run("{experiment}")
SCRIPT = "../scripts/step.py"


pathvars:
    results=PLAN.config.results,
    logs=f"{PLAN.config.results}/logs",
    benchmarks=f"{PLAN.config.results}/benchmarks",


wildcard_constraints:
    experiment="|".join(map(re.escape, RUNS)),
    sweep="|".join(SWEEPS) or "(?!)",
    phantom=f"{PHANTOM}(-[0-9a-f]{{8}})?",
    stage=PATTERN,
    physics=f"{INSTANTANEOUS}|{FULL}",
    accuracy="|".join(ACCURACY),


def code(step):
    """A step with all library files that it uses: editing one of them reruns the rule."""
    return library_files(Path("workflow/scripts/step.py"), STEPS / f"{step}.py")


def kind_files(kind):
    """Library files of a kind of experiment: they matter to the experiments of that kind."""
    return library_files(kinds.module_of(kind))


def kind_code(wildcards):
    """Library files of the kind of an experiment."""
    return kind_files(RUNS[wildcards.experiment].figure)


def kind_of(wildcards):
    """The kind of an experiment."""
    return kinds.of(RUNS[wildcards.experiment].figure)


def user_code(*sections):
    """Files of the user's own functions that sections of an experiment name."""

    def files(wildcards):
        run = RUNS[wildcards.experiment]
        named = [getattr(run, section).function.rpartition(":")[0] for section in sections]
        return [name for name in named if name.endswith(".py")]

    return files


def setting(step):
    """Sections of an experiment that a step uses: only a change of these reruns the rule."""
    return lambda wildcards: with_sections(RUNS[wildcards.experiment], sections_of(step))


def judge_settings(wildcards):
    """Settings of an experiment's judge."""
    return PLAN.judge_of(wildcards.experiment).model_dump()


def phantom_of(wildcards):
    """The phantom of a run."""
    return RESULTS.phantom(PLAN.phantom_of(wildcards.experiment))


def ensemble_of(wildcards):
    """The phantoms that a run is optimized on beside its own."""
    return [RESULTS.phantom(folder) for folder in PLAN.ensemble_of(wildcards.experiment)]


def evaluated_on(wildcards):
    """The phantoms that an optimized sequence is evaluated on."""
    folders = PLAN.evaluated_on(wildcards.experiment).values()
    return [RESULTS.phantom(folder) for folder in folders]


def phantom_files(settings):
    """Files that a phantom's settings name, defaults included."""
    if isinstance(settings, dict):
        return [file for value in settings.values() for file in phantom_files(value)]
    if isinstance(settings, list):
        return [file for value in settings for file in phantom_files(value)]
    return [settings] if isinstance(settings, str) and Path(settings).is_file() else []


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


def stage_of(wildcards):
    """Group of the short steps of a stage, one job on a cluster; those of a sweep have its own.

    What is made of the end result belongs to its stage.
    """
    return sweep_of(wildcards) or f"{wildcards.experiment}_{wildcards.get('stage', OPTIMIZED)}"


def optimization_of(wildcards):
    """The optimization that a stage's parameters come from; the start needs none."""
    if wildcards.stage == START:
        return {}
    return {"optimization": RESULTS.run(wildcards.experiment).parameters}


def growing(amount):
    """A resource that grows with each attempt: a job killed for want of it is given more."""
    return lambda wildcards, attempt: amount * attempt


def gpus(wildcards):
    """GPUs of a step that simulates: none, unless the config's device is one."""
    return 1 if SIMULATION.device.startswith("cuda") else 0


def final_results():
    named = [RESULTS.run(name) for name in EXPERIMENTS]
    figures = ["phantom", "schematic", *EXPERIMENTS, *SWEEPS]
    figures += [f"{n}_{kind}" for n in EXPERIMENTS for kind in ("pulses", "kspace", "validation")]
    return [
        [RESULTS.figure(name, suffix) for name in figures for suffix in ("png", "pdf")],
        [run.seq(OPTIMIZED) for run in named],
        [run.limits for run in named],
        [RESULTS.numbers("robustness")] if EXPERIMENTS and PLAN.config.other_phantoms else [],
        [RESULTS.sweep(name) for name in SWEEPS],
        [RESULTS.numbers("sweep")] if SWEEPS else [],
        RESULTS.nifti(PHANTOM),
        RESULTS.numbers("validation"),
        RESULTS.numbers("summary"),
        RESULTS.front_page,
    ]
