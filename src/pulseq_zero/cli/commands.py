"""The commands and what they say of themselves."""

from __future__ import annotations

import logging
import sys
import warnings
from io import TextIOWrapper
from pathlib import Path
from typing import Any

import click

from pulseq_zero.errors import ConfigError, PulseqZeroError

_OF_DEVELOPERS = (DeprecationWarning, PendingDeprecationWarning, ResourceWarning)
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


class _BesideBars(logging.Handler):
    """Writes lines of the log above the bar that shows progress."""

    def emit(self, record: logging.LogRecord) -> None:
        from tqdm import tqdm

        tqdm.write(self.format(record), file=sys.stderr)


def _show_log(_context: click.Context, _option: click.Parameter, verbose: bool) -> None:
    if verbose:
        form = "%(name)s: %(message)s"
        logging.basicConfig(level=logging.INFO, format=form, handlers=[_BesideBars()])


_config = click.option(
    "--config",
    type=_FILE,
    help="Phantom, accuracy of the simulation, limits and results folder. By default "
    "config/config.yaml, if there is one, and otherwise the default brain and ./results.",
)


_device = click.option(
    "--device", metavar="NAME", help="Where to simulate, cpu or cuda, in place of the config's."
)
_verbose = click.option(
    "-v", "--verbose", is_flag=True, callback=_show_log, expose_value=False, is_eager=True,
    help="Say more about what is done.",
)  # fmt: skip


def _show_warning(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    """Show a warning as the sentence that it is.

    Packages switch on what Python does not tell users: what concerns their own code.
    """
    if not issubclass(category, _OF_DEVELOPERS):
        click.echo(f"Warning: {message}", err=True)


class _Group(click.Group):
    """Commands whose own errors are sentences, not tracebacks."""

    def invoke(self, ctx: click.Context) -> Any:
        for stream in (sys.stdout, sys.stderr):
            # A terminal that knows no µ shows a question mark
            if isinstance(stream, TextIOWrapper):
                stream.reconfigure(errors="replace")
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            try:
                return super().invoke(ctx)
            except PulseqZeroError as error:
                raise click.ClickException(str(error)) from error


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="pulseq-zero")
def main() -> None:
    """Optimize PyPulseq sequences by gradient descent through their simulated images.

    An experiment is three files: a sequence (a plain PyPulseq function), a loss (what makes an
    image good), and a YAML file that names both, the parameters to optimize, and how.

    \b
    From nothing to an optimized sequence:
      pulseq-zero new my_sequence
      pulseq-zero check config/experiments/my_sequence.yaml
      pulseq-zero run config/experiments/my_sequence.yaml
      pulseq-zero show results/my_sequence

    \b
    The image of a .seq file:
      pulseq-zero simulate gre.seq

    Each command has its own --help. Sequence and loss files are ordinary Python and run with
    your rights.
    """


@main.command()
@click.argument("name")
def new(name: str) -> None:
    """Lay out a runnable experiment in the current folder.

    It is a spin echo whose echo time is optimized for T2 contrast, in three commented files to
    make your own of. NAME is what the experiment and its sequence function are called: small
    letters, digits, underscores. Nothing is overwritten.

    \b
    Example:
      pulseq-zero new my_sequence
    """
    from pulseq_zero.cli.new import new_experiment

    files = new_experiment(name, Path())
    click.echo("\n".join(f"Wrote {file}" for file in files))
    experiment = next(file for file in files if file.suffix == ".yaml")
    click.echo(f"\nCheck it:  pulseq-zero check {experiment}")
    click.echo(f"Run it:    pulseq-zero run {experiment}")


@main.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
def pipeline(folder: Path) -> None:
    """Lay out the Snakemake pipeline, which runs many experiments, also on a cluster.

    FOLDER gets the workflow with its configuration, and the experiments that it comes with, as
    files to make your own of. Snakemake is needed: pip install 'pulseq-zero[pipeline]'. Nothing
    is overwritten.

    \b
    Example:
      pulseq-zero pipeline my_pipeline
    """
    from pulseq_zero.cli.pipeline import lay_out_pipeline

    click.echo("\n".join(f"Wrote {path}" for path in lay_out_pipeline(folder)))
    click.echo(f"\nWhat to run is in {folder / 'config' / 'config.yaml'}. Run it:")
    click.echo(f"  cd {folder} && snakemake --cores 8")


@main.command()
@click.argument("experiment", type=_FILE)
@_config
@_device
@_verbose
def check(experiment: Path, config: Path | None, device: str | None) -> None:
    """Check an experiment before it runs; the exit code is 1 if something failed.

    Whether EXPERIMENT (a YAML file) and the config make sense; whether the sequence runs, keeps
    PyPulseq's timing and the limits of its system; whether tracing leaves it as it is and loses
    no gradient; whether the gradients of its events agree with finite differences; and whether
    the loss can be made lower.

    \b
    Example:
      pulseq-zero check config/experiments/my_sequence.yaml
    """
    from rich.console import Console

    from pulseq_zero.cli.check import checks_of, remarks, table
    from pulseq_zero.cli.project import read_project

    checks = checks_of(read_project(experiment, config, device=device), click.echo)
    click.echo()
    Console().print(table(checks))
    for remark in remarks(checks):
        click.echo(f"\n{remark}")
    failed = [each.name for each in checks if each.passed is False]
    if failed:
        raise ConfigError(
            f"{experiment} fails {len(failed)} of {len(checks)} checks: {', '.join(failed)}"
        )
    click.echo(f"\n{experiment} is ready to run.")


@main.command()
@click.argument("experiment", type=_FILE)
@_config
@click.option("--iterations", type=int, help="How many, in place of the experiment's.")
@_device
@_verbose
def run(experiment: Path, config: Path | None, iterations: int | None, device: str | None) -> None:
    """Optimize an experiment, and say where the results are.

    EXPERIMENT is a YAML file. The sequence is simulated on the phantom, its parameters are
    optimized, and start and best iteration are simulated again more accurately and written as
    .seq files by your unchanged script. An interrupted run (Ctrl-C) goes on where it was when it
    is started again.

    The files are those of the pipeline (snakemake), which also makes scans, sweeps and a report.

    \b
    Example:
      pulseq-zero run config/experiments/my_sequence.yaml
    """
    from pulseq_zero.cli.project import read_project
    from pulseq_zero.cli.run import run_experiment, summary

    project = read_project(experiment, config, iterations=iterations, device=device)
    files = run_experiment(project, click.echo)
    click.echo("\n" + summary(project, files))


@main.command()
@click.argument("file", type=_FILE)
@click.option(
    "--phantom",
    type=_FILE,
    help="MRzeroCore's phantom JSON, .npz or .mat maps, or a YAML file with the settings of a "
    "phantom. By default the embedded brain.",
)
@click.option(
    "--fov",
    type=(float, float),
    metavar="X Y",
    help="Field of view of the image [m]; by default the file's definition FOV.",
)
@click.option(
    "--matrix",
    type=(int, int),
    metavar="X Y",
    help="Pixels of the image; by default as many as k-space resolves.",
)
@click.option(
    "--B0",
    "field",
    type=click.FloatRange(min=0, min_open=True),
    help="Field strength [T] that offsets in ppm are of, where the file does not state it.",
)
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for the results; by default that of the file's name in the current folder.",
)
def simulate(
    file: Path,
    phantom: Path | None,
    fov: tuple[float, float] | None,
    matrix: tuple[int, int] | None,
    field: float | None,
    output: Path | None,
) -> None:
    """Simulate a .seq file: image, signal and k-space.

    FILE is any Pulseq file, whoever wrote it. Its pulses are played on the embedded brain, or on
    a phantom of yours. Written are figures of image, signal, k-space and pulses (PNG), the image
    as NIfTI and the signal as ISMRMRD.

    \b
    Examples:
      pulseq-zero simulate gre.seq
      pulseq-zero simulate gre.seq --phantom phantom.json --fov 0.2 0.2
    """
    from pulseq_zero.cli.simulate import simulate_file

    written = simulate_file(
        file,
        output or Path(file.stem),
        phantom=phantom,
        fov=fov,
        matrix=matrix,
        field=field,
        report=click.echo,
    )
    click.echo("\n".join(map(str, written)))


@main.command()
@click.argument("results", type=_FOLDER)
def show(results: Path) -> None:
    """Draw images, history, pulse diagrams and k-space of an experiment's results.

    RESULTS is the folder that `run` or the pipeline wrote; the figures are PNG files in it.

    \b
    Example:
      pulseq-zero show results/my_sequence
    """
    from pulseq_zero.cli.show import draw
    from pulseq_zero.experiments.layout import RunFiles

    click.echo("\n".join(map(str, draw(RunFiles.in_folder(results)))))


@main.command()
@click.argument("results", type=_FOLDER)
def export(results: Path) -> None:
    """Write images as NIfTI and signals as ISMRMRD, for other viewers and reconstructions.

    RESULTS is the folder that `run` or the pipeline wrote. The NIfTI images lie where the phantom
    lies: over your own NIfTI maps, or in the MNI space of the default brain. The ISMRMRD files
    hold the simulated signal with its k-space trajectory in 1/m.

    \b
    Example:
      pulseq-zero export results/my_sequence
    """
    from pulseq_zero.cli.export import export_results
    from pulseq_zero.experiments.layout import RunFiles

    click.echo("\n".join(map(str, export_results(RunFiles.in_folder(results)))))
