# Config, experiments, and the helpers that the rules share.

import sys
from pathlib import Path

from pulseq_zero.config import read_yaml, validate
from pulseq_zero.errors import PulseqZeroError
from pulseq_zero.experiment import sequence_setup
from pulseq_zero.phantom.settings import read_config as read_phantom_config

sys.path.insert(0, str(Path(workflow.basedir, "workflow")))

from dependencies import library_files

SCHEMAS = Path(workflow.basedir) / "workflow/schemas"
EXPERIMENT_FILE = "config/experiments/{experiment}.yaml"


def load_config():
    """Validate the config and read its experiments; stop with one sentence if either is wrong."""
    validate(config, SCHEMAS / "config.schema.yaml", "the config")
    read_phantom_config(config["phantom"])
    experiments = {}
    for name in config["experiments"]:
        file = EXPERIMENT_FILE.format(experiment=name)
        experiments[name] = read_yaml(Path(file))
        validate(experiments[name], SCHEMAS / "experiment.schema.yaml", file)
        sequence_setup(experiments[name])
    return experiments


try:
    EXPERIMENTS = load_config()
except PulseqZeroError as error:
    raise WorkflowError(str(error)) from None

RESULTS = config["results"]
SIMULATION = {k: v for k, v in config["simulation"].items() if not k.endswith("accuracy")}
ACCURACY = {
    "optimization": float(config["simulation"]["accuracy"]),
    "tight": float(config["simulation"]["tight_accuracy"]),
}


pathvars:
    results=RESULTS,
    logs=f"{RESULTS}/logs",
    benchmarks=f"{RESULTS}/benchmarks",


wildcard_constraints:
    experiment="|".join(EXPERIMENTS),
    stage="start|optimized|iteration_[0-9]+",
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
        named = [
            EXPERIMENTS[wildcards.experiment][s]["function"].rpartition(":")[0] for s in sections
        ]
        return [name for name in named if name.endswith(".py")]

    return files


def setting(*sections):
    """Sections of an experiment, for params: only a change of these reruns the rule."""

    def settings(wildcards):
        experiment = EXPERIMENTS[wildcards.experiment]
        return {section: experiment[section] for section in sections if section in experiment}

    return settings


def stages(experiment):
    """Points of an optimization that are simulated, exported and reported."""
    reported = EXPERIMENTS[experiment].get("report_iterations", [])
    return ["start", "optimized", *(f"iteration_{i}" for i in reported)]


def phantom_files(settings):
    """Files that a phantom's settings name, defaults included."""
    if isinstance(settings, dict):
        return [file for value in settings.values() for file in phantom_files(value)]
    if isinstance(settings, list):
        return [file for value in settings for file in phantom_files(value)]
    return [settings] if isinstance(settings, str) and Path(settings).is_file() else []


def optimization_of(wildcards):
    """The optimization that a stage's parameters come from; the start needs none."""
    if wildcards.stage == "start":
        return []
    return f"{RESULTS}/{wildcards.experiment}/optimization/parameters.safetensors"


def figure_kind(experiment):
    return EXPERIMENTS[experiment].get("figure", "history")


def experiment_figure_inputs(wildcards):
    """What the figure of an experiment needs beside images and history."""
    folder = f"{RESULTS}/{wildcards.experiment}"
    kind = figure_kind(wildcards.experiment)
    if kind == "inversion_time":
        return {"scan": f"{folder}/scan.csv", "phantom": f"{RESULTS}/phantom/phantom.safetensors"}
    if kind == "flip_angles":
        return {"quality": f"{folder}/quality.csv"}
    return {}


def evaluation_inputs(wildcards):
    """Images of every reported stage, and what else the experiment's numbers come from."""
    folder = f"{RESULTS}/{wildcards.experiment}"
    inputs = {
        "images": [f"{folder}/{s}/image_tight.safetensors" for s in stages(wildcards.experiment)]
    }
    if "scan" in EXPERIMENTS[wildcards.experiment]:
        inputs["scan"] = f"{folder}/scan.csv"
    return inputs


def gpus(wildcards):
    return 1 if str(SIMULATION.get("device", "cpu")).startswith("cuda") else 0


def final_results():
    figures = ["phantom", "schematic", *EXPERIMENTS]
    figures += [f"{name}_{kind}" for name in EXPERIMENTS for kind in ("pulses", "kspace")]
    return [
        expand("<results>/figures/{name}.{format}", name=figures, format=["png", "pdf"]),
        [f"{RESULTS}/{name}/optimized/{name}.seq" for name in EXPERIMENTS],
        [f"{RESULTS}/{name}/limits.csv" for name in EXPERIMENTS],
        "<results>/phantom/nifti",
        "<results>/summary.json",
        "<results>/front_page.rst",
    ]


def report_command():
    """Make the report with this run's config; a run of some targets only cannot have one."""
    configs = " ".join(["--configfile", *map(str, workflow.configfiles)])
    log = f"{RESULTS}/logs/report.log"
    return (
        f"snakemake --nolock --report {RESULTS}/report.html {configs} > {log} 2>&1 "
        f"|| echo 'There is no report of a part of the results; {log} says what is missing' >&2"
    )
