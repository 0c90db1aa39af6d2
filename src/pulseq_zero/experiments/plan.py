"""What a config asks for: the runs of its experiments, and the phantoms that these need."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from pulseq_zero.errors import ConfigError, PulseqZeroError
from pulseq_zero.experiments import kinds, stages
from pulseq_zero.experiments.layout import check_names, check_results
from pulseq_zero.experiments.section import read
from pulseq_zero.experiments.settings import Config, Experiment, JudgeSettings
from pulseq_zero.experiments.sweeps import sweep_runs, sweep_table, with_settings
from pulseq_zero.files.loading import check_reference
from pulseq_zero.files.yaml import read_yaml
from pulseq_zero.optimization.checkpoints import fingerprint
from pulseq_zero.phantom.settings import changed, read_config

FOLDER = Path("config/experiments")
# Folder of the phantom that the config describes
PHANTOM = "phantom"
# Sections that the start of a run follows from
_OF_THE_START = (
    "sequence", "sequences", "parameters", "image", "reconstruction", "modules", "phantom",
)  # fmt: skip

PhantomSettings = dict[str, Any]


@dataclass
class Plan:
    """The runs of a config and their phantoms.

    Attributes
    ----------
    config
        The config.
    experiments
        The experiments of one run each, by their names.
    sweeps
        The experiments of many runs each.
    runs
        All runs, by their names; that of a run of a sweep is ``sweep/setting=value,...``.
    phantoms
        Settings of the phantoms by their folders, as far as they have been asked for: the
        config's own, and others by a hash of their settings.
    """

    config: Config
    experiments: dict[str, Experiment] = field(default_factory=dict)
    sweeps: dict[str, Experiment] = field(default_factory=dict)
    runs: dict[str, Experiment] = field(default_factory=dict)
    phantoms: dict[str, PhantomSettings] = field(default_factory=dict)
    _folders: dict[str, str] = field(default_factory=dict)
    _starts: dict[str, str] = field(default_factory=dict)

    def settings(self, name: str) -> Experiment:
        """Return a run, or a sweep whose runs start alike."""
        return self.runs[name] if name in self.runs else self.sweeps[name]

    def start_of(self, run: str) -> str:
        """Name under which the start of a run is: that of the first experiment that starts alike.

        Elsewhere that of a sweep that has but one start, or the run's own.
        """
        sweep = run.partition("/")[0]
        moved = sweep in self.sweeps and any(map(_moves_the_start, self.sweeps[sweep].sweep))
        own = run if moved or sweep not in self.sweeps else sweep
        # Rules ask for those of a thousand runs again and again
        if own not in self._starts:
            self._starts[own] = self._first_with.get(self._start(own), own)
        return self._starts[own]

    def phantom(self, changes: Mapping[str, Any]) -> str:
        """Folder of a phantom that differs from the config's by some settings."""
        # A sweep of thousands of runs asks for the same ones again and again
        key = fingerprint(changes)
        if key not in self._folders:
            settings = self.changed_phantom(changes)
            is_own = settings == self.phantoms[PHANTOM]
            folder = PHANTOM if is_own else f"{PHANTOM}-{fingerprint(settings)[:8]}"
            self.phantoms[folder] = settings
            self._folders[key] = folder
        return self._folders[key]

    def changed_phantom(self, changes: Mapping[str, Any]) -> PhantomSettings:
        """Return the settings of a phantom that differs from the config's by some."""
        return read_config(changed(self.config.phantom, changes))

    def phantom_of(self, run: str) -> str:
        """Folder of the phantom of a run."""
        return self.phantom(self.settings(run).phantom)

    def ensemble_of(self, run: str) -> list[str]:
        """Folders of the phantoms that a run is optimized on beside its own."""
        own = self.runs[run].phantom
        return [self.phantom(changed(own, further)) for further in self.runs[run].ensemble]

    def other_phantoms(self, run: str) -> dict[str, PhantomSettings]:
        """Return the phantoms that an optimized sequence is also evaluated on, by their names."""
        own = changed(self.config.phantom, self.runs[run].phantom)
        others = self.config.other_phantoms or {}
        return {name: read_config(changed(own, change)) for name, change in others.items()}

    def phantom_settings(self, folder: str) -> PhantomSettings:
        """Find the settings of the phantom in a folder, whichever run needs it."""
        if folder not in self.phantoms:
            for run in self.runs:
                self.phantom_of(run)
                self.ensemble_of(run)
        return self.phantoms[folder]

    def variants_of(self, run: str) -> dict[str, Experiment]:
        """Return the experiments whose scans tell what moves the minimum of a run's, by names.

        Raises
        ------
        ConfigError
            If a change is none of a setting, or leaves no experiment.
        """
        given = self.runs[run]
        if given.scan is None or given.scan.variants is None:
            return {}
        content = given.model_dump(mode="json", exclude_unset=True)
        variants = content["scan"].pop("variants")
        changes = variants.pop("changes")
        content["scan"] |= variants
        made = {}
        for name, change in changes.items():
            with _at(_variant(name)):
                variant = with_settings(content, change)
            made[name] = read(Experiment, variant, _variant(name))
        return made

    def stages(self, run: str) -> list[str]:
        """List the stages that are simulated, exported and reported."""
        given = self.settings(run)
        return stages.reported(given.report_iterations, given.sequences_by_name)

    def judge_of(self, run: str) -> JudgeSettings:
        """Return the config's judge with what the run changes of it."""
        changes = self.settings(run).validation.model_dump(exclude_unset=True)
        return self.config.validation.model_copy(update=changes)

    def runs_of(self, sweep: str) -> list[str]:
        """Names of a sweep's runs."""
        return [run for run in self.runs if run.startswith(f"{sweep}/")]

    def compared(self, sweep: str) -> list[tuple[str, str]]:
        """Run and stage of what stands beside the runs of a sweep, whichever its sequences."""
        return [
            (name, point)
            for name in self.sweeps[sweep].compare
            for point in dict.fromkeys(map(stages.point_of, self.stages(name)))
            if point != stages.START
        ]

    @cached_property
    def _first_with(self) -> dict[str, str]:
        """The first experiment with each of the starts."""
        return {self._start(name): name for name in reversed(self.experiments)}

    def _start(self, name: str) -> str:
        """Hash of all that the start of a run follows from, and of its judge."""
        given = self.settings(name)
        values = {name: parameter.start for name, parameter in given.parameters.items()}
        sections = given.model_dump(mode="json", include={"image", "reconstruction", "modules"})
        functions = {n: one.model_dump(mode="json") for n, one in given.sequences_by_name.items()}
        judge, phantom = self.judge_of(name).model_dump(), self.phantom_of(name)
        return fingerprint([functions, values, sections, judge, phantom])


def read_plan(content: Any, folder: Path = FOLDER) -> Plan:
    """Read what a config asks for, and check all that a schema can know.

    Parameters
    ----------
    content
        The config, as YAML has it.
    folder
        Where its experiments are.

    Raises
    ------
    ConfigError
        If the config or an experiment is wrong; names the file and the key.
    """
    config = read(Config, content, "the config")
    check_names(config.experiments)
    check_results(config.results)
    plan = Plan(config, phantoms={PHANTOM: read_config(config.phantom)})
    for name in config.experiments:
        file = folder / f"{name}.yaml"
        content = read_yaml(file)
        experiment = read(Experiment, content, str(file))
        if not experiment.sweep:
            plan.experiments[name] = plan.runs[name] = experiment
            continue
        plan.sweeps[name] = experiment
        with _at(str(file)):
            runs = sweep_runs(content, sweep_table(name, experiment.sweep))
        for run, settings in runs.items():
            plan.runs[run] = read(Experiment, settings, _place(folder, run))
    for name, sweep in plan.sweeps.items():
        strangers = [other for other in sweep.compare if other not in plan.experiments]
        if strangers:
            raise ConfigError(
                f"{folder / name}.yaml: compare: {strangers[0]!r} is no experiment of the config "
                "that has one run"
            )
    _check_phantoms(plan, folder)
    return plan


def check_functions(plan: Plan, folder: Path = FOLDER) -> None:
    """Check what only the functions know that the experiments of a plan name.

    Raises
    ------
    ConfigError
        If a function is not the project's, or cannot be used as an experiment says.
    """
    packages = plan.config.packages
    for run, experiment in plan.runs.items():
        with _at(_place(folder, run)):
            check_experiment(experiment, packages)
            for name, variant in plan.variants_of(run).items():
                with _at(_variant(name)):
                    check_experiment(variant, packages)
    for name, sweep in plan.sweeps.items():
        for baseline, given in sweep.baselines.items():
            with _at(f"{_place(folder, name)}: baselines: {baseline}"):
                check_reference(given.function, packages)


def check_experiment(experiment: Experiment, packages: Sequence[str]) -> None:
    """Check what of an experiment only its functions know, before anything runs.

    Parameters
    ----------
    experiment
        The experiment, of one run.
    packages
        Packages beside the project's own files that it may name functions of.

    Raises
    ------
    ConfigError
        If one of its functions is not the project's or cannot be used as the experiment says, if
        nothing can be scanned, or if an iteration is reported that is never done.
    """
    # They need all that simulates, which reading a plan does not
    from pulseq_zero.experiments.experiment import (
        load_loss_maker,
        optimizer_settings,
    )
    from pulseq_zero.experiments.models import setups_of
    from pulseq_zero.experiments.modules import make_modules
    from pulseq_zero.experiments.phantoms import check_phantoms
    from pulseq_zero.experiments.reconstruction import make_reconstruction

    sections: list[Any] = [*experiment.sequences_by_name.values(), experiment.loss]
    sections += [experiment.reconstruction] if experiment.reconstruction else []
    sections += experiment.modules.values()
    sections += [experiment.phantoms] if experiment.phantoms else []
    for section in sections:
        check_reference(section.function, packages)
    setup = next(iter(setups_of(experiment).values()))
    load_loss_maker(experiment.loss)
    make_reconstruction(experiment.reconstruction, make_modules(experiment.modules))
    check_phantoms(experiment.phantoms)
    optimizer_settings(experiment.optimizer)
    _check_modules(experiment)
    kind = kinds.of(experiment.figure)
    if experiment.sequences and experiment.figure != kinds.ANY:
        raise ConfigError(
            f"figure: {experiment.figure} is of one sequence; of several, leave it out"
        )
    kind.check(experiment, setup)
    scanned = experiment.scan.parameter if experiment.scan else None
    scalars = [name for name, start in setup.start.items() if start.ndim == 0]
    if scanned is not None and scanned not in scalars:
        raise ConfigError(
            f"scan.parameter: {scanned!r} is no parameter that is one number; these are {scalars}"
        )
    last = experiment.optimizer.iterations
    beyond = [number for number in experiment.report_iterations if number > last]
    if beyond:
        raise ConfigError(f"report_iterations: {beyond[0]} is beyond the last iteration, {last}")


def _check_modules(experiment: Experiment) -> None:
    """Refuse what would need modules of other iterations than the start and the best."""
    others = {
        "report_iterations": bool(experiment.report_iterations),
        "scan": experiment.scan is not None,
        "baselines": bool(experiment.baselines),
        f"figure: {experiment.figure}": "quality" in kinds.of(experiment.figure).needs,
    }
    wanted = [key for key, is_there in others.items() if is_there]
    if experiment.modules and wanted:
        raise ConfigError(
            f"{wanted[0]} looks at other parameters than start and best, for which the modules "
            "are not trained; leave it out, or the modules"
        )


def _moves_the_start(setting: str) -> bool:
    """Tell whether the start of an experiment depends on a setting, by its dotted name."""
    section, _, rest = setting.partition(".")
    if section == "parameters":
        # Where the optimization begins, its steps and bounds come later
        return rest.endswith(".start")
    return section in _OF_THE_START


def _check_phantoms(plan: Plan, folder: Path) -> None:
    for run in plan.runs:
        with _at(_place(folder, run)):
            plan.phantom_of(run), plan.ensemble_of(run)
            for name, variant in plan.variants_of(run).items():
                with _at(_variant(name)):
                    plan.changed_phantom(variant.phantom)
    for name, changes in (plan.config.other_phantoms or {}).items():
        with _at(f"the config: other_phantoms: {name}"):
            plan.changed_phantom(changes)


@contextmanager
def _at(place: str) -> Iterator[None]:
    """Say where what goes wrong in a block stands."""
    try:
        yield
    except PulseqZeroError as error:
        raise ConfigError(f"{place}: {error}") from error


def _variant(name: str) -> str:
    """Say where a variant of a scan stands."""
    return f"scan.variants: {name}"


def _place(folder: Path, run: str) -> str:
    """Say where a run stands."""
    name, _, label = run.partition("/")
    file = f"{folder / name}.yaml"
    return f"{file}, run {label}" if label else file
