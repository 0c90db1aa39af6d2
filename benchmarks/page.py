"""Make the page of the benchmark from what ``run.py`` has measured.

Usage: python benchmarks/page.py results/benchmark.json docs/benchmark.md
"""

from __future__ import annotations

import json
import platform
import sys
from importlib.metadata import version
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure
from run import PHANTOMS

from pulseq_zero.figures.style import (
    BLUE,
    GREEN,
    ORANGE,
    chart_row,
    legend_below,
    panels,
    save_figure,
    style,
)

INTRODUCTION = """# Benchmark

Made by `make bench` on {machine}, without a GPU, with Python {python}, torch {torch}, numba {numba}
and PyPulseq {pypulseq}. Ours, MRzeroCore 1.2.0 and pulseqzero 1.1.0 run one after the other; times
are the best of several runs after the first, in milliseconds.
"""

PIPELINE = """
## The pipeline

A whole run of the default config, {jobs} jobs, takes {cpu:.0f} CPU seconds on the machine that ran
it: {imports:.0f} until the jobs have imported what they need ({import_each:.1f} a job), and
{judge:.0f} in the jobs of the judge, their imports included. Each job measures itself; what
Snakemake takes to plan and to report is not in it, nor what is compiled once when the environment
is made.
"""

ENGINE = """
## Signal and gradients

On a disc of random maps, 96 x 96, and the same phase distribution graph. The
main pass: from the sequence's numbers to the signal (forward), and from the gradient of the
signal to those of the sequence (backward; flip angles for the turbo spin echo `tse`, everything
for the others). "Ratio" is the time of MRzeroCore's `execute_graph` over ours, once of the
compiled loops and once of plain torch; "signal" and "gradient" are relative differences from
MRzeroCore, that of the gradient without moments and times, which MRzeroCore differentiates along
one path of each state only; "peak" is the memory that a step takes on top of what was there.
"""

RECONSTRUCTION = """
## Reconstruction

The image (64 x 64) of the turbo spin echo by FFT, of the same samples moved off the grid by
separable products, and by MRzeroCore's `reco_adjoint`.
"""

STEP = """
## Whole optimization steps

From parameters to the gradient of a loss of the image: sequence, graph, signal, image, backward, on
the pipeline's phantom, the ICBM152 brain ({voxels} voxels, those of each tissue counted). The
peer is pulseqzero with MRzeroCore, run on the same scripts and, from files, the same maps. Ours
leaves out states that add up to 1e-3 (the pipeline optimizes at 3e-3); the peer each state below
1e-2, which spares it more of them.
"""

PLAYED = """
## Steps with played pulses

The same steps where pulses are played: ours, ours with pulses at once, and the peer's, whose pulses
all act at once. "NRMSE" is how far the image of the start is from that of the pipeline's judge,
Bloch isochromats with full physics, in the pipeline's last run.
"""

TRACING = """
## Tracing

The turbo spin echo script with {pulses} free flip angles: PyPulseq alone, its first run traced,
and the replay of its tape (with the conversion to MR-zero, and backward), beside pulseqzero's
building of the sequence with its conversion.
"""

SCALING = """
## Cost against size

Forward and backward pass of the turbo spin echo over the number of voxels (at accuracy 1e-2) and
of states (at accuracies 1e-1 to 1e-5), one thread. At {matrix} x {matrix} both together take
{peak:.0f} MiB on top of what was there.

![Time and memory over voxels and states](figures/benchmark.png)
"""


def machine() -> str:
    """Name the processor."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{len(names)} cores of {names[0]}" if names else platform.processor()


def engine_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Lay out the engines' times."""

    def times(name: str) -> pd.Series:
        forward, backward = 1e3 * rows[f"{name}_forward_s"], 1e3 * rows[f"{name}_backward_s"]
        return forward.map("{:.3g}".format) + " / " + backward.map("{:.3g}".format)

    def ratio(name: str) -> pd.Series:
        forward = rows["reference_forward_s"] / rows[f"{name}_forward_s"]
        backward = rows["reference_backward_s"] / rows[f"{name}_backward_s"]
        return forward.map("{:.0f}".format) + " / " + backward.map("{:.1f}".format)

    return pd.DataFrame({
        "sequence": rows["case"],
        "threads": rows["threads"].astype(int),
        "ours": times("ours"),
        "torch": times("torch"),
        "MRzeroCore": times("reference"),
        "ratio": ratio("ours"),
        "ratio of torch": ratio("torch"),
        "signal": rows["nrmse"].map("{:.1e}".format),
        "gradient": rows["gradient_relative_error"].map("{:.1e}".format),
        "peak [MiB], ours": rows["ours_peak_mib"].map("{:.0f}".format),
        "MRzeroCore's": rows["reference_peak_mib"].map("{:.0f}".format),
    })  # fmt: skip


def reconstruction_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Lay out the times of images."""

    def times(name: str) -> pd.Series:
        return (1e3 * rows[name]).map("{:.2g}".format)

    return pd.DataFrame({
        "threads": rows["threads"].astype(int),
        "ours, FFT": times("ours_fft_s"),
        "ours, products": times("ours_products_s"),
        "MRzeroCore": times("reference_s"),
        "ratio of products": (rows["reference_s"] / rows["ours_products_s"]).map("{:.0f}".format),
    })  # fmt: skip


def step_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Lay out the times of whole steps."""
    return pd.DataFrame({
        "step": rows["case"].str.removesuffix(" step"),
        "threads": rows["threads"].astype(int),
        "ours": (1e3 * rows["ours_step_s"]).map("{:.1f}".format),
        "peer": (1e3 * rows["peer_step_s"]).map("{:.0f}".format),
        "ratio": (rows["peer_step_s"] / rows["ours_step_s"]).map("{:.0f}".format),
    })  # fmt: skip


def played_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Lay out the times of steps with played pulses."""
    table = pd.DataFrame({
        "step": rows["case"].str.removesuffix("_played"),
        "threads": rows["threads"].astype(int),
        "played": (1e3 * rows["ours_step_s"]).map("{:.0f}".format),
        "at once": (1e3 * rows["instantaneous_step_s"]).map("{:.0f}".format),
        "ratio": (rows["ours_step_s"] / rows["instantaneous_step_s"]).map("{:.1f}".format),
        "peer, at once": (1e3 * rows["peer_step_s"]).map("{:.0f}".format),
        "states": rows["states"].astype(int),
        "at once, states": rows["instantaneous_states"].astype(int),
    })  # fmt: skip
    if "nrmse_vs_judge" in rows:
        table["NRMSE"] = rows["nrmse_vs_judge"].map("{:.1e}".format)
    return table


def pipeline_text(row: pd.Series) -> str:
    """Say what a whole run of the pipeline has used."""
    imports = row["import_cpu_s"]
    return PIPELINE.format(
        jobs=int(row["jobs"]),
        cpu=row["cpu_s"],
        imports=imports,
        import_each=imports / row["jobs"],
        judge=row["judge_cpu_s"],
    )


def rule_table(row: pd.Series) -> pd.DataFrame:
    """Lay out what the jobs of each rule have used, those that used most first."""
    table = pd.DataFrame(row["rules"]).T.sort_values("cpu_s", ascending=False)
    table.columns = ["jobs", "all [CPU s]", "the largest [CPU s]"]
    return table.round().astype(int).rename_axis("rule").reset_index()


def tracing_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Lay out the times of tracing."""
    measured = [name for name in rows.columns if name.endswith("_ms") and rows[name].notna().all()]
    table = rows[measured].map("{:.3g}".format)
    table.columns = [name.removesuffix("_ms").replace("_", " ") for name in measured]
    table.insert(0, "threads", rows["threads"].astype(int))
    return table


def scaling_figure(rows: pd.DataFrame) -> Figure:
    """Draw time and memory over voxels and over states."""
    with style():
        figure, (times, memories) = panels(chart_row(1.0, 1.0), chart_row(1.0, 1.0))
        for over, time, memory in zip(("voxels", "states"), times, memories, strict=True):
            part = rows[rows["case"] == f"scaling with {over}"].sort_values(over)
            for name, color in (("forward", BLUE), ("backward", ORANGE)):
                time.plot(part[over], 1e3 * part[f"ours_{name}_s"], "o-", color=color, label=name)
            memory.plot(part[over], part["ours_peak_mib"], "o-", color=GREEN)
            time.set_ylabel("Time [ms]")
            memory.set_ylabel("Peak memory [MiB]")
            for axes in (time, memory):
                axes.set_xlabel(f"Number of {over}")
                highest = max(float(line.get_ydata().max()) for line in axes.lines)
                axes.set(xlim=(0, None), ylim=(0, 1.1 * highest))
        legend_below(times[0])
    return figure


def main(results: Path, page: Path) -> None:
    """Write the page, and its figure beside it."""
    rows = pd.DataFrame(json.loads(results.read_text()))
    versions = {name: version(name).partition("+")[0] for name in ("torch", "numba", "pypulseq")}
    parts = [INTRODUCTION.format(machine=machine(), python=platform.python_version(), **versions)]

    def add(text: str, table: pd.DataFrame) -> None:
        parts.append(f"{text}\n{table.to_markdown(index=False)}\n")

    if len(pipeline := rows[rows["case"] == "pipeline"]):
        add(pipeline_text(pipeline.iloc[0]), rule_table(pipeline.iloc[0]))
    engines = rows[rows["case"].isin(["tse", "epi", "gre", "bssfp", "radial", "spiral"])]
    if len(engines):
        add(ENGINE, engine_table(engines))
    if len(images := rows[rows["case"] == "reconstruction"]):
        add(RECONSTRUCTION, reconstruction_table(images))
    if len(steps := rows[rows["case"].str.endswith(" step")]):
        add(STEP.format(voxels=int(steps["voxels"].iloc[0])), step_table(steps))
    if len(played := rows[rows["case"].str.endswith("_played")]):
        add(PLAYED, played_table(played))
    if len(tracing := rows[rows["case"] == "tracing"]):
        add(TRACING.format(pulses=int(tracing["pulses"].iloc[0])), tracing_table(tracing))
    if len(scaling := rows[rows["case"].str.startswith("scaling")]):
        save_figure(scaling_figure(scaling), page.parent / "figures" / "benchmark.png")
        largest = scaling.loc[scaling["voxels"].idxmax()]
        parts.append(SCALING.format(matrix=max(PHANTOMS), peak=largest["ours_peak_mib"]))
    page.write_text("".join(parts))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
