"""Run the step of the library that is called as the rule is.

What the step's function names is taken from the rule's params, its files, and its wildcards.
"""

import inspect
from importlib import import_module
from pathlib import Path

import torch

from pulseq_zero.experiments.settings import Experiment, Section, only_sections
from pulseq_zero.files.logs import logged


def main(rule, wildcards, params, files):
    run = import_module(f"pulseq_zero.experiments.steps.{rule}").run
    given = {**wildcards, **params, **{name: paths(file) for name, file in files.items()}}
    arguments = inspect.signature(run, eval_str=True).parameters.values()
    run(**{a.name: typed(given[a.name], a.annotation) for a in arguments if a.name in given})


def paths(file):
    return Path(file) if isinstance(file, str) else [Path(each) for each in file]


def typed(value, kind):
    if kind is Experiment:
        return only_sections(value)
    return kind(**value) if inspect.isclass(kind) and issubclass(kind, Section) else value


if "snakemake" in globals():
    torch.set_num_threads(snakemake.threads)
    with logged(snakemake.log[0]):
        main(
            snakemake.rule,
            snakemake.wildcards,
            snakemake.params,
            {**snakemake.input, **snakemake.output},
        )
