"""Where results lie: the folders and files of a run, and those of all runs together."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pulseq_zero.errors import ConfigError, shown
from pulseq_zero.experiments.stages import OPTIMIZATION, TIGHT

# A figure for the screen, for the width of a page, and for that of a column
FIGURES = ("png", "pdf", "column.pdf")
# Of names of files, which have 255 letters, with what the names of results add
LONGEST_NAME = 180
EXPERIMENT_NAME = "[A-Za-z][A-Za-z0-9_]*"
"""What the name of an experiment looks like, and of its folder."""

# What beside runs lies in the folder of results, and is drawn in its figures
_TAKEN = ("benchmarks", "checkpoints", "figures", "logs", "phantom", "schematic", "validated")
# Folders of what results are made of
_OF_SOURCES = (
    "benchmarks", "config", "docs", "losses", "phantoms", "profiles", "sequences", "src", "tests",
    "workflow",
)  # fmt: skip
_OF_AN_EXPERIMENT = ("kspace", "pulses", "validation")


def check_names(names: Sequence[str]) -> None:
    """Check that the results of some experiments do not meet, nor other results.

    Raises
    ------
    ConfigError
        If a name is none of a folder, or that of other results, or of another's figure.
    """
    for name in names:
        if not re.fullmatch(EXPERIMENT_NAME, name):
            raise ConfigError(
                f"{name!r} cannot name an experiment; call its file with letters, digits and "
                "underscores, a letter first"
            )
        if len(name) > LONGEST_NAME:
            raise ConfigError(
                f"{shown(name)} has {len(name)} letters, but an experiment's name at most "
                f"{LONGEST_NAME}; call its file otherwise"
            )
    # Some file systems do not tell capitals from small letters
    found = {name: name.lower() for name in names}
    taken = dict.fromkeys(_TAKEN, "results of the pipeline")
    taken |= {
        f"{lower}_{shows}": f"a figure of {name!r}"
        for name, lower in found.items()
        for shows in _OF_AN_EXPERIMENT
    }
    for name, lower in found.items():
        if lower in taken:
            raise ConfigError(
                f"the experiment {name!r} is called as {taken[lower]}, and would overwrite it; "
                "rename its file"
            )
        taken[lower] = f"the experiment {name!r}"


def check_results(folder: str) -> None:
    """Check that a folder for results is none of those that a project has for its sources.

    Raises
    ------
    ConfigError
        If it is.
    """
    first = Path(folder).parts[0]
    if first.lower() in _OF_SOURCES:
        raise ConfigError(
            f"results: {folder} is in {first}, which is for what results are made of; choose "
            "another folder, such as results"
        )


@dataclass(frozen=True)
class RunFiles:
    """The files of one run: the same for pipeline and command line.

    Attributes
    ----------
    folder
        Folder of the run.
    name
        Name of the run.
    """

    folder: Path
    name: str

    @classmethod
    def in_folder(cls, folder: Path) -> RunFiles:
        """Find the files of a run that is called as its folder is."""
        return cls(folder, folder.resolve().name)

    @property
    def experiment(self) -> Path:
        """Copy of the experiment file, as it was run; the pipeline makes none."""
        return self.folder / "experiment.yaml"

    @property
    def history(self) -> Path:
        """Losses of all iterations."""
        return self.folder / "optimization" / "history.csv"

    @property
    def parameters(self) -> Path:
        """Parameters of all iterations, and modules of the best."""
        return self.folder / "optimization" / "parameters.safetensors"

    @property
    def scan(self) -> Path:
        """Loss over one parameter."""
        return self.folder / "scan.csv"

    @property
    def minima(self) -> Path:
        """Minimum of that loss, as it is and with something changed."""
        return self.folder / "minima.csv"

    @property
    def quality(self) -> Path:
        """Quality of the images over the iterations."""
        return self.folder / "quality.csv"

    @property
    def limits(self) -> Path:
        """What the exported sequences need of the limits."""
        return self.folder / "limits.csv"

    @property
    def robustness(self) -> Path:
        """Losses on other phantoms."""
        return self.folder / "robustness.csv"

    @property
    def validation(self) -> Path:
        """Whether the results stand."""
        return self.folder / "validation.json"

    @property
    def evaluation(self) -> Path:
        """The numbers of the run."""
        return self.folder / "evaluation.json"

    def phantom(self, number: int) -> Path:
        """Phantom of this number, of those that nothing but this run is simulated on."""
        return self.folder / "phantoms" / f"phantom_{number}.safetensors"

    def sequence(self, stage: str) -> Path:
        """Traced sequence of a stage."""
        return self.folder / stage / "sequence.safetensors"

    def traced(self, stage: str) -> Path:
        """``.seq`` file of a stage, as it is written with traced numbers."""
        return self.folder / stage / "traced.seq"

    def seq(self, stage: str) -> Path:
        """``.seq`` file of a stage, by the unchanged script."""
        return self.folder / stage / f"{self.name}.seq"

    def export(self, stage: str) -> Path:
        """Whether that file is what PyPulseq alone writes."""
        return self.folder / stage / "export.json"

    def image(self, stage: str, accuracy: str = TIGHT) -> Path:
        """Image and signal of a stage."""
        return self.folder / stage / f"image_{accuracy}.safetensors"

    def imported(self, stage: str) -> Path:
        """Image of the ``.seq`` file of a stage, as it is imported."""
        return self.folder / stage / "image_seq.safetensors"

    def stage(self, stage: str) -> dict[str, Path]:
        """All that is made of a stage, by names."""
        return {
            "sequence": self.sequence(stage),
            "traced": self.traced(stage),
            "image_optimization": self.image(stage, OPTIMIZATION),
            "image_tight": self.image(stage, TIGHT),
            "seq": self.seq(stage),
            "check": self.export(stage),
            "image_seq": self.imported(stage),
        }

    def judge(self, stage: str, physics: str) -> Path:
        """Image of the ``.seq`` file of a stage by the judge."""
        return self.folder / stage / f"judge_{physics}.safetensors"


@dataclass(frozen=True)
class ResultFiles:
    """The files of all runs.

    Attributes
    ----------
    folder
        Folder of the results.
    """

    folder: Path

    def run(self, name: str) -> RunFiles:
        """Files of a run."""
        return RunFiles(self.folder / name, name)

    @property
    def checkpoints(self) -> Path:
        """Folder of the states of optimizations that have not ended."""
        return self.folder / "checkpoints"

    def phantom(self, folder: str) -> Path:
        """Phantom in a folder of its own."""
        return self.folder / folder / "phantom.safetensors"

    def nifti(self, folder: str) -> Path:
        """Folder of a phantom's maps for other programs."""
        return self.folder / folder / "nifti"

    def figure(self, name: str, suffix: str) -> Path:
        """Figure of this name, by one of `FIGURES`."""
        return self.folder / "figures" / f"{name}.{suffix}"

    def sweep(self, name: str) -> Path:
        """Table of the runs of a sweep."""
        return self.folder / name / "sweep.csv"

    def baselines(self, name: str) -> Path:
        """Table of what the runs of a sweep are compared with."""
        return self.folder / name / "baselines.csv"

    def evaluations(self, name: str) -> Path:
        """Numbers of the runs of a sweep."""
        return self.folder / name / "evaluations.json"

    def table(self, name: str) -> Path:
        """Table of all experiments: ``validation`` or ``robustness``."""
        return self.folder / f"{name}.csv"

    def numbers(self, name: str) -> Path:
        """Numbers of all experiments: ``validation``, ``robustness``, ``sweep``, ``summary``."""
        return self.folder / f"{name}.json"

    @property
    def front_page(self) -> Path:
        """First page of the report."""
        return self.folder / "front_page.rst"

    @property
    def report(self) -> Path:
        """The report: figures, tables and numbers of all runs in one page."""
        return self.folder / "report.html"
