# Config, experiments, and the helpers that the rules share.

import re
import subprocess
import sys
from pathlib import Path

from pulseq_zero.checkpoints import fingerprint
from pulseq_zero.config import read_yaml, validate
from pulseq_zero.errors import ConfigError, PulseqZeroError
from pulseq_zero.experiment import load_loss_maker, sequence_setup
from pulseq_zero.phantom.settings import changed as changed_phantom
from pulseq_zero.phantom.settings import read_config as read_phantom_config
from pulseq_zero.store import atomic_path
from pulseq_zero.sweeps import sweep_runs, sweep_table

sys.path.insert(0, str(Path(workflow.basedir, "workflow")))

from dependencies import library_files

SCHEMAS = Path(workflow.basedir) / "workflow/schemas"
EXPERIMENT_FILE = "config/experiments/{experiment}.yaml"


def load_config():
    """Validate the config and read its experiments; stop with one sentence if either is wrong.

    Returns the experiments of one run each, the sweeps, and the runs of all by their names.
    """
    validate(config, SCHEMAS / "config.schema.yaml", "the config")
    read_phantom_config(config["phantom"])
    experiments, sweeps, runs = {}, {}, {}
    for name in config["experiments"]:
        file = EXPERIMENT_FILE.format(experiment=name)
        experiment = read_yaml(Path(file))
        validate(experiment, SCHEMAS / "experiment.schema.yaml", file)
        try:
            if "sweep" in experiment:
                sweeps[name] = experiment
                table = sweep_table(name, experiment["sweep"])
                runs |= sweep_runs(experiment, table)
            else:
                experiments[name] = runs[name] = experiment
        except ConfigError as error:
            raise ConfigError(f"{file}: {error}") from error
    for name, sweep in sweeps.items():
        for other in sweep.get("compare", []):
            if other not in experiments:
                raise ConfigError(
                    f"config/experiments/{name}.yaml: compare: {other!r} is no experiment of the "
                    "config that has one run"
                )
    for name, run in runs.items():
        check_run(name, run)
    for name, changes in (config.get("other_phantoms") or {}).items():
        try:
            read_phantom_config(changed_phantom(config["phantom"], changes))
        except PulseqZeroError as error:
            raise ConfigError(f"the config: other_phantoms: {name}: {error}") from error
    return experiments, sweeps, runs


def check_run(name, run):
    """Check what a schema cannot know, and the settings that a sweep has put in."""
    file = EXPERIMENT_FILE.format(experiment=name.partition("/")[0])
    label = name.partition("/")[2]
    where = f"{file}, run {label}" if label else file
    validate(run, SCHEMAS / "experiment.schema.yaml", where)
    try:
        for changes in [run.get("phantom", {}), *run.get("ensemble", [])]:
            read_phantom_config(changed_phantom(config["phantom"], changes))
        sequence_setup(run)
        load_loss_maker(run["loss"])
    except PulseqZeroError as error:
        raise ConfigError(f"{where}: {error}") from error


try:
    EXPERIMENTS, SWEEPS, RUNS = load_config()
except PulseqZeroError as error:
    raise WorkflowError(str(error)) from None

RESULTS = config["results"]
SIMULATION = {k: config["simulation"][k] for k in ("engine", "device") if k in config["simulation"]}
ACCURACY = {
    "optimization": float(config["simulation"]["accuracy"]),
    "tight": float(config["simulation"]["tight_accuracy"]),
}
# What is reported is simulated ever more accurately until the image changes by less than this
TIGHT_CHANGE = float(config["simulation"].get("tight_change", 1e-4))
# The stages whose exported sequences are judged, and how
VALIDATED = ["start", "optimized"]
VALIDATION = config.get(
    "validation",
    {
        "tolerance": 5e-3,
        "full_tolerance": 4e-2,
        "largest": 32768,
        "thickness": 2.0,
        "sub_pulses": 8,
        "full_accuracy": 2e-3,
    },
)
# The schematic shows the last experiment of the config
PICTURED = (list(EXPERIMENTS) or list(RUNS))[-1]

# The phantoms by their folders: the config's own, and others by a hash of their settings
PHANTOMS = {"phantom": read_phantom_config(config["phantom"])}


def phantom_file(changes):
    """File of a phantom that differs from the config's by some settings."""
    settings = read_phantom_config(changed_phantom(config["phantom"], changes))
    folder = "phantom"
    if settings != PHANTOMS["phantom"]:
        folder = f"phantom-{fingerprint(settings)[:8]}"
        PHANTOMS[folder] = settings
    return f"{RESULTS}/{folder}/phantom.safetensors"


def ensemble_files(run):
    """Files of a run's phantom and of those that are optimized with it."""
    own = run.get("phantom", {})
    further = [changed_phantom(own, changes) for changes in run.get("ensemble", [])]
    return [phantom_file(changes) for changes in [own, *further]]


def other_phantom_files(run):
    """Files of a run's phantom and of what the config changes of it, for the evaluation.

    Found when they are asked for: sweeps have thousands that nobody does.
    """
    own = run.get("phantom", {})
    changes = [changed_phantom(own, change) for change in OTHER_PHANTOMS.values()]
    return [phantom_file(own), *map(phantom_file, changes)]


def judge_settings(wildcards):
    """Settings of an experiment's judge: the config's, and what the experiment changes of them."""
    return VALIDATION | RUNS[wildcards.experiment].get("validation", {})


def evaluated_on(wildcards):
    """The phantoms that an optimized sequence is evaluated on."""
    return other_phantom_files(RUNS[wildcards.experiment])


def phantom_settings(wildcards):
    """Settings of a phantom, also in a job that makes nothing else."""
    if wildcards.phantom not in PHANTOMS:
        for run in RUNS.values():
            other_phantom_files(run)
    return PHANTOMS[wildcards.phantom]


def figure_group_of(wildcards):
    """Group of an experiment's figure: its stage's, unless it waits for the judge of that stage."""
    waits = figure_kind(wildcards.experiment) == "slice_profile"
    return sweep_of(wildcards) if waits else stage_of(wildcards)


def phantom_files(settings):
    """Files that a phantom's settings name, defaults included."""
    if isinstance(settings, dict):
        return [file for value in settings.values() for file in phantom_files(value)]
    if isinstance(settings, list):
        return [file for value in settings for file in phantom_files(value)]
    return [settings] if isinstance(settings, str) and Path(settings).is_file() else []


OTHER_PHANTOMS = config.get("other_phantoms") or {}
RUN_PHANTOMS = {name: ensemble_files(run) for name, run in RUNS.items()}
for file in phantom_files([*PHANTOMS.values(), *OTHER_PHANTOMS.values()]):
    if re.search("[{}]", file):
        raise WorkflowError(
            f"the phantom's file {file} has a brace in its name, which Snakemake takes for a "
            "wildcard; rename it"
        )


pathvars:
    results=RESULTS,
    logs=f"{RESULTS}/logs",
    benchmarks=f"{RESULTS}/benchmarks",


wildcard_constraints:
    experiment="|".join(map(re.escape, RUNS)),
    sweep="|".join(SWEEPS) or "(?!)",
    phantom="phantom(-[0-9a-f]{8})?",
    stage="start|optimized|iteration_[0-9]+",
    physics="instantaneous|full",
    accuracy="|".join(ACCURACY),


def code(script):
    """A script with all library files that it uses: editing one of them reruns the rule."""
    return [
        f"workflow/scripts/{script}.py",
        *library_files(f"workflow/scripts/{script}.py"),
    ]


def user_code(*sections):
    """Files of the user's own functions that sections of an experiment name."""

    def files(wildcards):
        named = [RUNS[wildcards.experiment][s]["function"].rpartition(":")[0] for s in sections]
        return [name for name in named if name.endswith(".py")]

    return files


def setting(*sections):
    """Sections of an experiment, for params: only a change of these reruns the rule."""

    def settings(wildcards):
        experiment = RUNS[wildcards.experiment]
        return {section: experiment[section] for section in sections if section in experiment}

    return settings


def stages(experiment):
    """Points of an optimization that are simulated, exported and reported."""
    reported = RUNS[experiment].get("report_iterations", [])
    return ["start", "optimized", *(f"iteration_{i}" for i in reported)]


def phantom_of(wildcards):
    """The phantom of a run."""
    return RUN_PHANTOMS[wildcards.experiment][0]


def ensemble_of(wildcards):
    """The phantoms that a run is optimized on beside its own."""
    return RUN_PHANTOMS[wildcards.experiment][1:]


def sweep_of(wildcards):
    """The sweep that a run belongs to: on a cluster, the group of its jobs."""
    sweep, _, run = wildcards.experiment.partition("/")
    return sweep if run else None


def stage_of(wildcards):
    """Group of the short steps of a stage, one job on a cluster; those of a sweep have its own.

    What is made of the end result belongs to its stage.
    """
    stage = wildcards.get("stage", "optimized")
    return sweep_of(wildcards) or f"{wildcards.experiment}_{stage}"


def optimization_of(wildcards):
    """The optimization that a stage's parameters come from; the start needs none."""
    if wildcards.stage == "start":
        return []
    return f"{RESULTS}/{wildcards.experiment}/optimization/parameters.safetensors"


def figure_kind(experiment):
    return RUNS[experiment].get("figure", "history")


def experiment_figure_inputs(wildcards):
    """What the figure of an experiment needs beside images and history."""
    folder = f"{RESULTS}/{wildcards.experiment}"
    kind = figure_kind(wildcards.experiment)
    if kind in ("inversion_time", "ernst_angle"):
        return {"scan": f"{folder}/scan.csv", "phantom": phantom_of(wildcards)}
    if kind == "flip_angles":
        return {"quality": f"{folder}/quality.csv"}
    if kind == "slice_profile":
        return {f"{stage}_judge": f"{folder}/{stage}/judge_full.safetensors" for stage in VALIDATED}
    return {}


def evaluation_inputs(wildcards):
    """Images of every reported stage, and what else the experiment's numbers come from."""
    folder = f"{RESULTS}/{wildcards.experiment}"
    each = [f"{folder}/{stage}" for stage in stages(wildcards.experiment)]
    inputs = {
        "images": [f"{stage}/image_tight.safetensors" for stage in each],
        "sequences": [f"{stage}/sequence.safetensors" for stage in each],
    }
    if "scan" in RUNS[wildcards.experiment]:
        inputs["scan"] = f"{folder}/scan.csv"
    # Runs of a sweep are exported only when asked for
    if wildcards.experiment in EXPERIMENTS:
        inputs |= {
            "optimized": f"{folder}/optimized/image_optimization.safetensors",
            "imported": f"{folder}/optimized/image_seq.safetensors",
            "start_export": f"{folder}/start/export.json",
            "optimized_export": f"{folder}/optimized/export.json",
        }
    return inputs


def start_of(run):
    """What the judge's images of a run's start follow from."""
    settings = RUNS[run]
    values = {name: given.get("start") for name, given in settings["parameters"].items()}
    image, judging = settings.get("image"), settings.get("validation")
    return [settings["sequence"], values, image, judging, RUN_PHANTOMS[run][0]]


def judged(wildcards, physics):
    """The judge's images of a run; those that start alike share that of the start."""
    own = start_of(wildcards.experiment)
    first = next(name for name in [*EXPERIMENTS, *RUNS] if start_of(name) == own)
    at = [(first if stage == "start" else wildcards.experiment, stage) for stage in VALIDATED]
    return [f"{RESULTS}/{name}/{stage}/judge_{physics}.safetensors" for name, stage in at]


def judged_as_optimized(wildcards):
    """The judge's images with pulses as the optimization has them: sub-pulses take their time."""
    is_cut = "sub_pulses" in RUNS[wildcards.experiment]["sequence"]
    return judged(wildcards, "full" if is_cut else "instantaneous")


def judged_in_full(wildcards):
    """The judge's images with pulses that take their time."""
    return judged(wildcards, "full")


def runs_of(sweep):
    """Names of a sweep's runs."""
    return [name for name in RUNS if name.startswith(f"{sweep}/")]


def compared(wildcards):
    """Stages of other experiments that stand beside a sweep: (experiment, stage)."""
    return [
        (name, stage)
        for name in SWEEPS[wildcards.sweep].get("compare", [])
        for stage in stages(name)
        if stage != "start"
    ]


def evaluations_of(wildcards):
    """Numbers of a sweep's runs and of the experiments that stand beside it."""
    runs = [*runs_of(wildcards.sweep), *SWEEPS[wildcards.sweep].get("compare", [])]
    return [f"{RESULTS}/{run}/evaluation.json" for run in runs]


def images_of(wildcards):
    """Images of a sweep's runs and of the experiments that stand beside it."""
    at = [(run, "optimized") for run in runs_of(wildcards.sweep)] + compared(wildcards)
    return [f"{RESULTS}/{run}/{stage}/image_tight.safetensors" for run, stage in at]


def growing(amount):
    """A resource that grows with each attempt: a job killed for want of it is given more."""
    return lambda wildcards, attempt: amount * attempt


def gpus(wildcards):
    """GPUs of a step that simulates: none, unless the config's device is one."""
    return 1 if str(SIMULATION.get("device", "cpu")).startswith("cuda") else 0


def final_results():
    figures = ["phantom", "schematic", *EXPERIMENTS, *SWEEPS]
    kinds = ("pulses", "kspace", "validation")
    figures += [f"{name}_{kind}" for name in EXPERIMENTS for kind in kinds]
    return [
        expand("<results>/figures/{name}.{format}", name=figures, format=["png", "pdf"]),
        [f"{RESULTS}/{name}/optimized/{name}.seq" for name in EXPERIMENTS],
        [f"{RESULTS}/{name}/limits.csv" for name in EXPERIMENTS],
        [f"{RESULTS}/robustness.json"] if EXPERIMENTS and OTHER_PHANTOMS else [],
        [f"{RESULTS}/{name}/sweep.csv" for name in SWEEPS],
        [f"{RESULTS}/sweep.json"] if SWEEPS else [],
        "<results>/phantom/nifti",
        "<results>/validation.json",
        "<results>/summary.json",
        "<results>/front_page.rst",
    ]


def make_report():
    """Make the report with this run's config, by Snakemake in a process of its own.

    A run of some targets only cannot have one. No shell reads the names of the config files.
    """
    log = Path(RESULTS, "logs/report.log")
    # The Snakefile reads its own again, which would come after those of the command line
    configs = list(map(str, workflow.config_settings.configfiles or []))
    changes = list(workflow.config_settings.config_args or [])
    command = [sys.executable, "-m", "snakemake", "--snakefile", workflow.main_snakefile]
    command += ["--nolock"]
    command += ["--configfile", *configs] if configs else []
    command += ["--config", *changes] if changes else []
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(Path(RESULTS, "report.html")) as report, log.open("wb") as said:
            command += ["--report", str(report), "--", "results"]
            subprocess.run(command, stdout=said, stderr=subprocess.STDOUT, check=True)
    except subprocess.CalledProcessError:
        print(
            f"There is no report of a part of the results; {log} says what is missing",
            file=sys.stderr,
        )
    except OSError as error:
        print(f"There is no report: {error}", file=sys.stderr)
