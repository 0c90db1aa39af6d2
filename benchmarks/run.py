"""Measure this package against MRzeroCore and pulseqzero, and write ``benchmark.json``.

Usage: python benchmarks/run.py [--output results/benchmark.json] [--threads 1 2]
       [--cases tse epi ...] [--peer-python PATH] [--results results]

The engines run on the same sequence, phantom and graph, each in a process of its own; times
are the best of several runs after the first. Whole optimization steps are compared where
``--peer-python`` names an interpreter that has pulseqzero 1.1.0 and MRzeroCore 1.2.0; so is the
building of the sequence that a step begins with (``tracing``). What a whole run of the pipeline has
used (``pipeline``), and how well its judge agrees, is read from its results.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import MRzeroCore as mr0
import numpy as np
import torch

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests"))
from pulseq_zero.imaging.reconstruction import reconstruct  # noqa: E402
from pulseq_zero.phantom import MAP_UNITS, Phantom, build_phantom  # noqa: E402
from support import sequences  # noqa: E402

CASES = ("tse", "epi", "gre", "bssfp", "radial", "spiral")
STEPS = ("flair", "tse")
# Their names in the results, where pulses are played
PLAYED = {"flair": "epi_played", "tse": "tse_played"}
# The pipeline's experiments with the same sequences
EXPERIMENTS = {"flair": "flair_ti", "tse": "tse_sar"}
TRACING = "tracing"
PIPELINE = "pipeline"
# Over which the cost is shown, a side of each.
PHANTOMS = (48, 96, 144, 192)
ALL = tuple(dict.fromkeys([*CASES, *STEPS, TRACING]))


def run(python: str, script: str, threads: int, *arguments: str) -> dict | None:
    """Run a script on some threads; return what its last line says, None if it fails."""
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    command = [python, str(HERE / script), *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        print(f"{script} {' '.join(arguments)} failed: {done.stderr.strip()[-300:]}")
        return None
    return json.loads(done.stdout.strip().splitlines()[-1])


# MRzeroCore differentiates these along one path of each state only, which is not their gradient.
BY_POSITION = ("event_time", "gradient_moment")


def compare(ours: Path, reference: Path) -> dict[str, float]:
    """Return the differences of signals and gradients."""
    one, other = (
        {name: torch.from_numpy(values) for name, values in np.load(path).items()}
        for path in (ours, reference)
    )
    signal, expected_signal = one.pop("signal"), other.pop("signal")

    def join(gradients: dict) -> torch.Tensor:
        # Each kind of gradient counts alike, whatever its unit.
        scale = {
            name: values.double().norm()
            for name, values in other.items()
            if name not in BY_POSITION
        }
        return torch.cat([gradients[name].double().flatten() / scale[name] for name in scale])

    gradient, expected = join(one), join(other)
    return {
        "nrmse": float((signal - expected_signal).norm() / expected_signal.norm()),
        "gradient_cosine": float(torch.cosine_similarity(gradient, expected, dim=0)),
        "gradient_relative_error": float((gradient - expected).norm() / expected.norm()),
    }


def measure_engine(case: str, threads: int, folder: Path) -> dict | None:
    """Return all numbers of one case."""
    stored = {name: folder / f"{case}-{name}.npz" for name in ("pdg", "torch", "mrzero")}
    found = {
        name: run(sys.executable, "engine_case.py", threads, case, name, str(threads), str(path))
        for name, path in stored.items()
    }
    ours, by_torch, reference = found["pdg"], found["torch"], found["mrzero"]
    if ours is None or by_torch is None:
        return None
    result = {
        "case": case,
        "threads": threads,
        "voxels": ours["voxels"],
        "ours_forward_s": ours["forward_s"],
        "ours_backward_s": ours["backward_s"],
        "ours_peak_mib": ours["peak_mib"],
        "torch_forward_s": by_torch["forward_s"],
        "torch_backward_s": by_torch["backward_s"],
    }
    if reference is not None:
        result |= {
            "reference_forward_s": reference["forward_s"],
            "reference_backward_s": reference["backward_s"],
            "reference_peak_mib": reference["peak_mib"],
        }
        result |= compare(stored["pdg"], stored["mrzero"])
    return result


def measure_reconstruction(threads: int, runs: int = 5) -> dict[str, float]:
    """Time the image of a 64 x 64 acquisition on the grid, and of the same one off it."""
    torch.set_num_threads(threads)
    kspace = sequences.turbo_spin_echo(64, off_echo=0.0).kspace()
    signal = torch.randn(len(kspace), 1, dtype=torch.complex64)

    def best(function) -> float:  # type: ignore[no-untyped-def]
        times = []
        for _ in range(runs):
            start = time.perf_counter()
            function()
            times.append(time.perf_counter() - start)
        return min(times)

    off_grid = kspace + 0.3
    fov = (sequences.FOV, sequences.FOV, 1.0)
    return {
        "case": "reconstruction",
        "threads": threads,
        "ours_fft_s": best(lambda: reconstruct(signal, kspace)),
        "ours_products_s": best(lambda: reconstruct(signal, off_grid)),
        "reference_s": best(
            lambda: mr0.reco_adjoint(signal, kspace.float(), (64, 64, 1), fov)
        ),
    }  # fmt: skip


def measure_scaling() -> list[dict]:
    """Return times and memory against the number of voxels, and against that of states."""
    sizes = [("voxels", matrix, 1e-2) for matrix in PHANTOMS]
    sizes += [("states", 96, accuracy) for accuracy in (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)]
    results = []
    for over, matrix, accuracy in sizes:
        found = run(sys.executable, "scaling_case.py", 1, str(matrix), str(accuracy))
        if found is not None:
            results.append({"case": f"scaling with {over}", "threads": 1} | found)
            print(json.dumps(results[-1]), flush=True)
    return results


def measure_step(
    case: str, threads: int, peer: str | None, maps: Path, agreement: float | None
) -> list[dict]:
    """Return the times of a whole optimization step, ours and the peer's.

    First with pulses that act at once, as the peer's do, then with pulses that are played, beside
    their agreement with the judge.
    """
    ours, played = (
        run(sys.executable, "step_case.py", threads, case, pulses, str(threads))
        for pulses in ("instantaneous", "played")
    )
    if ours is None or played is None:
        return []
    at_once = {"case": f"{case} step", "threads": threads, "ours_step_s": ours["step_s"]}
    at_once |= {"states": ours["states"], "voxels": ours["voxels"]}
    as_played = {
        "case": PLAYED[case],
        "threads": threads,
        "ours_step_s": played["step_s"],
        "instantaneous_step_s": ours["step_s"],
        "states": played["states"],
        "instantaneous_states": ours["states"],
    }
    if agreement is not None:
        as_played["nrmse_vs_judge"] = agreement
    if peer is not None:
        theirs = run(peer, "peer_case.py", threads, case, str(threads), str(maps))
        for result in (at_once, as_played):
            result |= {} if theirs is None else {"peer_step_s": theirs["step_s"]}
    return [at_once, as_played]


def measure_tracing(threads: int, peer: str | None) -> dict | None:
    """Return the times of building a sequence: plain, traced, replayed, and the peer's."""
    ours = run(sys.executable, "tracing_case.py", threads, "ours", str(threads))
    theirs = run(peer, "tracing_case.py", threads, "peer", str(threads)) if peer else None
    if ours is None:
        return None
    return {"case": TRACING, "threads": threads} | ours | (theirs or {})


def read_agreement(results: Path, experiment: str) -> float | None:
    """Return how far played pulses are from full physics at the start of an experiment (NRMSE)."""
    file = results / "validation.json"
    for row in json.loads(file.read_text()) if file.is_file() else []:
        if (row["experiment"], row["stage"]) == (experiment, "start"):
            return row["pdg_played_vs_bloch_full_nrmse"]
    print(f"{file} says nothing of {experiment}: run `make reproduce` to have it judged")
    return None


def read_pipeline(results: Path) -> dict | None:
    """Add up what the jobs of the pipeline have used, each when it last ran [CPU s]."""
    jobs = [file.with_suffix(".json") for file in (results / "benchmarks").rglob("*.tsv")]
    if not jobs or not all(job.is_file() for job in jobs):
        print(f"{results / 'benchmarks'} does not say what all jobs used: run `make reproduce`")
        return None
    used = [json.loads(job.read_text()) for job in jobs]
    return {
        "case": PIPELINE,
        "jobs": len(used),
        "cpu_s": sum(job["cpu_s"] for job in used),
        "import_cpu_s": sum(job["import_cpu_s"] for job in used),
        "judge_cpu_s": sum(job["cpu_s"] for job in used if job["rule"] == "judge"),
        "rules": {
            rule: {
                "jobs": sum(job["rule"] == rule for job in used),
                "cpu_s": sum(job["cpu_s"] for job in used if job["rule"] == rule),
                "largest_cpu_s": max(job["cpu_s"] for job in used if job["rule"] == rule),
            }
            for rule in sorted({job["rule"] for job in used})
        },
    }


def save_maps(phantom: Phantom, path: Path) -> None:
    """Write the maps of all pools as the peer's MRzeroCore takes them."""
    pools = phantom.to_mr0()
    names = [*MAP_UNITS, "coil_sens", "affine"]
    np.savez(
        path, **{f"{pool}/{n}": getattr(pools[pool], n).numpy() for pool in pools for n in names}
    )


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("results/benchmark.json"))
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--cases", nargs="+", default=ALL, choices=ALL)
    parser.add_argument("--peer-python")
    parser.add_argument("--results", type=Path, default=Path("results"))
    options = parser.parse_args()
    results = [read_pipeline(options.results)]
    agreement = {
        case: read_agreement(options.results, EXPERIMENTS[case])
        for case in options.cases
        if case in STEPS
    }
    with tempfile.TemporaryDirectory() as folder:
        maps = Path(folder) / "maps.npz"
        save_maps(build_phantom({"source": "icbm152"}), maps)
        for threads in options.threads:
            results.append(measure_reconstruction(threads))
            for case in dict.fromkeys(options.cases):
                if case in CASES:
                    results.append(measure_engine(case, threads, Path(folder)))
                if case == TRACING:
                    results.append(measure_tracing(threads, options.peer_python))
                if case in STEPS:
                    results += measure_step(
                        case, threads, options.peer_python, maps, agreement[case]
                    )
                print(json.dumps(results[-1]), flush=True)
        results += measure_scaling()
    options.output.parent.mkdir(parents=True, exist_ok=True)
    written = options.output.with_suffix(".part")
    written.write_text(json.dumps([r for r in results if r is not None], indent=2) + "\n")
    written.replace(options.output)


if __name__ == "__main__":
    main()
