"""Whether results stand: exported sequences simulated again, by a judge that shares no code.

Like is compared with like: the phase distribution graphs (PDG) and the judge both take box-shaped
voxels without diffusion, and both start from the ``.seq`` file.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pulseq_zero.conversion.repetitions import Repetitions
from pulseq_zero.errors import ValidationError
from pulseq_zero.experiments.evaluation import region_errors
from pulseq_zero.experiments.stages import START, point_of
from pulseq_zero.imaging.metrics import nrmse, ssim
from pulseq_zero.imaging.slices import excited_slice
from pulseq_zero.phantom import Phantom

if TYPE_CHECKING:
    import MRzeroCore as mr0

Images = Mapping[str, Tensor]

# How much more, or less, the optimization may change the image under full physics than where it was
# simulated, beside the judge's scatter: in parts of the start's image, and of the change.
AS_CHANGED = (1e-2, 0.1)

# NRMSE below which the exported file's image is that of the traced sequence: six digits of
# amplitudes and the rasters of the file leave less than a tenth of this.
AS_EXPORTED = 1e-2

# What is changed in the brain, of the phantoms that have one
_BRAIN, _BRAIN_IN_FULL = "optimized_vs_start_nrmse_brain", "optimized_vs_start_full_nrmse_brain"

# What losses are computed of
JUDGED = ("optimizer", "tight", "bloch", "bloch_full")


def judged_phantom(phantom: Phantom, thickness: float | None = None) -> mr0.SimData:
    """Return the phantom as both simulations take it: box voxels, no diffusion.

    Parameters
    ----------
    phantom
        The phantom.
    thickness
        Extent of the voxels along z [m], with magnetisation in proportion; None for the
        phantom's own. A thicker one holds what a pulse excites beyond the slice. Of a volume, which
        holds that, nothing is changed.
    """
    if thickness is not None and not phantom.is_volume:
        phantom = phantom.thickened(thickness)
    data = phantom.simulation_data("box")
    data.D = torch.zeros_like(data.D)
    return data


def judged_thickness(phantom: Phantom, repetitions: Repetitions, relative: float) -> float:
    """Return how thick a slice is judged in full physics [m].

    Parameters
    ----------
    phantom, repetitions
        The slice and the sequence, of whose pulses those count that are played.
    relative
        What it is at least, relative to the phantom's; more where the pulses excite farther.
    """
    reach = excited_slice(phantom, repetitions).slice_thickness
    return max(relative * phantom.slice_thickness, reach)


def validation_row(
    experiment: str,
    stage: str,
    images: Images,
    start: Images,
    losses: Mapping[str, float],
    judge: Mapping[str, Mapping[str, Any]],
    axes: int = 2,
) -> dict[str, Any]:
    """Compare the images of one stage of an experiment.

    Parameters
    ----------
    experiment, stage
        Their names.
    images
        (..., x, y[, z]): ``optimizer`` and ``tight`` (traced sequence, at the accuracies of the
        optimization and of what is reported), ``imported`` (exported file, as ``optimizer``),
        ``pdg`` (exported file, box voxels, as ``tight``), ``pdg_played`` (as ``pdg``, with
        pulses that are played and what lies beyond the slice), ``bloch`` and ``bloch_full``
        (exported file, judge).
    start
        The same of the start, with which the ``tight`` and ``bloch_full`` images are compared: what
        the optimization changes where it is simulated, and what it changes under full physics.
    losses
        ``optimizer``, ``tight``, ``bloch`` and ``bloch_full``: the loss of these images.
    judge
        For ``bloch`` and ``bloch_full``: ``scatter``, ``spins`` and ``seconds`` of the judge.
    axes
        How many axes an image has, 2 or 3.
    """
    row: dict[str, Any] = {
        "experiment": experiment,
        "stage": stage,
        "pdg_vs_bloch_nrmse": nrmse(images["pdg"], images["bloch"]),
        "pdg_vs_bloch_full_nrmse": nrmse(images["pdg"], images["bloch_full"]),
        "pdg_played_vs_bloch_full_nrmse": nrmse(images["pdg_played"], images["bloch_full"]),
        "pdg_loose_vs_tight_nrmse": nrmse(images["optimizer"], images["tight"]),
        "import_vs_trace_nrmse": nrmse(images["imported"], images["optimizer"]),
        "optimized_vs_start_nrmse": nrmse(images["tight"], start["tight"]),
        "optimized_vs_start_full_nrmse": nrmse(images["bloch_full"], start["bloch_full"]),
        "optimized_vs_start_full_ssim": ssim(images["bloch_full"], start["bloch_full"], axes),
    }
    row |= {f"loss_{name}": float(losses[name]) for name in JUDGED}
    for name, found in judge.items():
        row |= {f"{name}_{key}": float(found[key]) for key in ("scatter", "spins", "seconds")}
    return row


def changes_in_regions(images: Images, start: Images, phantom: Phantom) -> dict[str, float]:
    """Tell what the optimization changes in the regions of a phantom: simulated, and in full.

    Parameters
    ----------
    images, start
        ``tight`` and ``bloch_full`` of a stage and of the start, as `validation_row` takes them.
    phantom
        What is imaged.

    Returns
    -------
    dict
        For each region the NRMSE of magnitudes, ``optimized_vs_start_nrmse_REGION`` and
        ``optimized_vs_start_full_nrmse_REGION``.
    """
    kinds = {"optimized_vs_start_": "tight", "optimized_vs_start_full_": "bloch_full"}
    return {
        f"{prefix}{name}": error
        for prefix, kind in kinds.items()
        for name, error in region_errors({"": images[kind]}, {"": start[kind]}, phantom).items()
    }


def judge_results(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Add to each row whether the result passed.

    A result fails if its loss improves on the start's in the optimizer, but not under the judge,
    be it with the optimization's pulses or with full physics; if the optimization changes the image
    otherwise under full physics; or if the exported file's image is not that of the traced
    sequence.

    Parameters
    ----------
    rows
        What `validation_row` and `changes_in_regions` returned, for the stages ``start`` and
        ``optimized`` of each experiment, and of each of its sequences.

    Returns
    -------
    list
        The rows with ``passed``.
    """
    start = {row["experiment"]: row for row in rows if point_of(row["stage"]) == START}

    def improves(row: Mapping[str, Any], loss: str) -> bool:
        # Of several sequences the loss is that of all
        return bool(row[loss] < start[row["experiment"]][loss])

    def stands(row: Mapping[str, Any]) -> bool:
        judged = improves(row, "loss_bloch") and improves(row, "loss_bloch_full")
        return judged or not improves(row, "loss_optimizer")

    return [
        {**row, "passed": stands(row) and _is_as_changed(row) and _is_as_exported(row)}
        for row in rows
    ]


def _is_as_changed(row: Mapping[str, Any]) -> bool:
    # That of two images, start and optimized
    scatter = 2 * row["bloch_full_scatter"]
    pairs = [(row["optimized_vs_start_nrmse"], row["optimized_vs_start_full_nrmse"])]
    if _BRAIN in row:
        pairs.append((row[_BRAIN], row[_BRAIN_IN_FULL]))
    return all(
        abs(full - simulated) <= AS_CHANGED[0] + AS_CHANGED[1] * simulated + scatter
        for simulated, full in pairs
    )


def _is_as_exported(row: Mapping[str, Any]) -> bool:
    return bool(row["import_vs_trace_nrmse"] < AS_EXPORTED)


def require_passed(rows: list[dict[str, Any]]) -> None:
    """Stop if a result failed.

    Raises
    ------
    ValidationError
        Naming the experiments whose loss improves in the optimizer only, or whose exported file
        makes another image.
    """
    failed = [row for row in rows if not row["passed"]]
    others = _names(row for row in failed if not _is_as_exported(row))
    if others:
        raise ValidationError(
            f"the exported files of {others} make other images than the traced sequences: look "
            "for what the file leaves out (import_vs_trace_nrmse in validation.json)"
        )
    changed = _names(row for row in failed if not _is_as_changed(row))
    if changed:
        raise ValidationError(
            f"under full physics the optimization of {changed} changes the image otherwise than "
            "where it was simulated (optimized_vs_start_full_nrmse in validation.json): let pulses "
            "be played, by sequence.pulses"
        )
    if failed:
        raise ValidationError(
            f"the loss of {_names(failed)} improves in the optimizer, but not under the Bloch "
            "judge: the optimizer found an error of the simulation; tighten simulation.accuracy "
            "and run it again"
        )


def _names(rows: Iterable[Mapping[str, Any]]) -> str:
    return ", ".join(f"{row['experiment']} ({row['stage']})" for row in rows)
