"""Run the step of the library that is called as the rule is.

What is done with several sequences together, as `optimize_together`, or makes more, as
`evaluate_with_quality`, is the same step.

What the step's function names is taken from the rule's params, its files, and its wildcards.
What the job has used is left beside its benchmark, where Snakemake samples the CPU time and misses
the end of it: no output, lest its absence makes a job run again.
"""

import gc
import inspect
import os
import sys
from importlib import import_module
from pathlib import Path

from later import UNUSED, NoCompiler, later
from pipeline_run import end_with_run

if "snakemake" in globals():
    # Before anything that takes its time
    end_with_run()
    # Imports leave no garbage, and to look for it takes a sixth of their time
    gc.disable()

with later(*UNUSED):
    import MRzeroCore  # noqa: F401, with PyPulseq

    sys.modules.setdefault("torch._dynamo", NoCompiler())
import torch

from pulseq_zero.experiments.section import Section
from pulseq_zero.experiments.settings import Config, Experiment, only_sections
from pulseq_zero.files.logs import logged
from pulseq_zero.files.store import save_json


def main(rule, wildcards, params, files):
    step = rule.removesuffix("_together").removesuffix("_with_quality")
    run = import_module(f"pulseq_zero.experiments.steps.{step}").run
    given = {**wildcards, **params, **{name: paths(file) for name, file in files.items()}}
    arguments = inspect.signature(run, eval_str=True).parameters.values()
    gc.freeze()
    gc.enable()
    imported = cpu_seconds()
    run(**{a.name: typed(given[a.name], a.annotation) for a in arguments if a.name in given})
    return {"rule": step, "import_cpu_s": imported, "cpu_s": cpu_seconds()}


def paths(file):
    return Path(file) if isinstance(file, str) else [Path(each) for each in file]


def typed(value, kind):
    if kind is Experiment:
        return only_sections(value)
    return kind(**value) if inspect.isclass(kind) and issubclass(kind, Section) else value


def cpu_seconds():
    """Of this process since it began, all its threads and ended children."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def beside_benchmark(log, config):
    """Benchmarks are called as logs are, in a folder of their own."""
    results = Path(config.get("results", Config.model_fields["results"].default))
    job = Path(log).relative_to(results / "logs")
    return (results / "benchmarks" / job).with_suffix(".json")


if "snakemake" in globals():
    torch.set_num_threads(snakemake.threads)
    with logged(snakemake.log[0]):
        used = main(
            snakemake.rule,
            snakemake.wildcards,
            snakemake.params,
            {**snakemake.input, **snakemake.output},
        )
        save_json(beside_benchmark(snakemake.log[0], snakemake.config), used)
    # When Python ends, it looks for garbage in all modules: 0.9 s of CPU time a job
    gc.freeze()
