"""Which samples make the image, and whether they are of one."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

from pulseq_zero.conversion.repetitions import Repetitions
from pulseq_zero.errors import SequenceError
from pulseq_zero.imaging.trajectory import trajectory_of

# Flags of samples that are not for the image
_NOT_IMAGED = ("NAV", "NOISE")

# Counters of what is not to be summed up. The others (LIN, SEG, AVG, ACQ) count what makes one
# image, or the same once more.
_COUNTERS = {
    "ECO": "echoes",
    "SET": "sets",
    "SLC": "slices",
    "REP": "repetitions",
    "PHS": "cardiac phases",
    "PAR": "partitions",
}

# By how much kz may vary, in steps of 1 / field of view, a whole one of which encodes. Digits of a
# file leave a thousandth, and slice gradients that alternate, as in PyPulseq's UTE, a sixth.
_KZ_RANGE = 0.25

# Echo times that differ by less [s] are one.
_SAME_ECHO = 1e-4


def samples_of_image(
    repetitions: Repetitions, kspace: Tensor, fov: Sequence[float]
) -> Tensor | slice:
    """Find the samples that make the image: all but navigators, noise and reference data.

    These are marked by Pulseq's labels NAV, NOISE and REF; with IMA, reference samples are of
    the image, too. What remains has to be one plane of k-space, or one volume where the field of
    view has three numbers, sampled for one image. Averages may be among it. In a plane, kz may be
    anything, as long as it is the same for all: it dephases then (crushers, z-shims), and encodes
    nothing.

    Parameters
    ----------
    repetitions
        The sequence.
    kspace
        (samples, 4) kx, ky, kz [1/m] and time of its samples.
    fov
        Field of view in x and y, or in x, y and z [m].

    Returns
    -------
    Tensor or slice
        Index of the samples.

    Raises
    ------
    SequenceError
        If none remains, or those that do differ in kz, are of several echoes, slices,
        partitions, sets, repetitions, cardiac phases or contrasts, or come to most places in
        k-space at several echo times.
    """
    chosen = imaged(repetitions)
    for name, values in _counted(repetitions, chosen, fov).items():
        count = len(torch.unique(values))
        if count > 1:
            raise _several(f"of {count} {_COUNTERS[name]} (label {name})", name)
    _check_one_image(repetitions, kspace, chosen, fov)
    return chosen


def samples_of_images(
    repetitions: Repetitions, kspace: Tensor, fov: Sequence[float]
) -> tuple[dict[str, list[int]], list[Tensor | slice]]:
    """Sort the samples of all images by Pulseq's counters ECO, SET, SLC, REP, PHS and PAR.

    Parameters and errors as for `samples_of_image`, of each image by itself. In a volume, PAR
    counts its partitions, and no images.

    Returns
    -------
    tuple
        The counters of which there are several values, with these; and the index of the samples of
        each image, the last counter varying fastest.

    Raises
    ------
    SequenceError
        If one of the combinations has no sample, too.
    """
    chosen = imaged(repetitions)
    counted = _counted(repetitions, chosen, fov)
    values = {name: torch.unique(given).tolist() for name, given in counted.items()}
    values = {name: found for name, found in values.items() if len(found) > 1}
    if not values:
        return {}, [samples_of_image(repetitions, kspace, fov)]
    index = torch.arange(len(kspace))[chosen]
    images: list[Tensor | slice] = []
    for combination in itertools.product(*values.values()):
        is_of_it = torch.ones(len(index), dtype=torch.bool)
        for name, value in zip(values, combination, strict=True):
            is_of_it &= counted[name].cpu() == value
        if not bool(is_of_it.any()):
            named = ", ".join(f"{n} {v}" for n, v in zip(values, combination, strict=True))
            raise SequenceError(
                f"no sample has the labels {named}, but others have each of them; let the sequence "
                "sample an image for every combination, or reconstruct them one by one"
            )
        images.append(index[is_of_it])
        _check_one_image(repetitions, kspace, images[-1], fov)
    return values, images


def _counted(
    repetitions: Repetitions, chosen: Tensor | slice, fov: Sequence[float]
) -> dict[str, Tensor]:
    """Return the counters that tell images apart, of the chosen samples."""
    return {
        name: repetitions.labels[name][chosen]
        for name in _COUNTERS
        if name in repetitions.labels and not (name == "PAR" and len(fov) == 3)
    }


def _check_one_image(
    repetitions: Repetitions, kspace: Tensor, chosen: Tensor | slice, fov: Sequence[float]
) -> None:
    contrast = repetitions.adc_usage[repetitions.is_sample][chosen]
    if bool((contrast != contrast[0]).any()):
        raise _several(f"of {len(torch.unique(contrast))} contrasts (adc_usage)")
    kz = kspace[chosen, 2].detach()
    extent = float(kz.max() - kz.min())
    if len(fov) == 2 and extent * max(fov) > _KZ_RANGE:
        raise _several(f"at several kz, {extent:.3g} 1/m apart", volume=True)
    trajectory = trajectory_of(kspace[chosen], fov)
    if trajectory.returns:
        place, arrival = trajectory.arrivals
        times = repetitions.time_since_excitation().detach()[chosen].cpu()[arrival]
        low, high = (
            torch.zeros(int(place.max()) + 1, dtype=times.dtype).scatter_reduce(
                0, torch.from_numpy(place), times, how, include_self=False
            )
            for how in ("amin", "amax")
        )
        if float(((high - low) > _SAME_ECHO).double().mean()) >= 0.5:
            raise _several(
                f"of several echoes, {1e3 * float(times.min()):.3g} to "
                f"{1e3 * float(times.max()):.3g} ms after excitation"
            )


def imaged(repetitions: Repetitions) -> Tensor | slice:
    """Find the samples whose labels do not say that they are for something else.

    Raises
    ------
    SequenceError
        If none remains.
    """
    labels = repetitions.labels
    left_out = [labels[name] != 0 for name in _NOT_IMAGED if name in labels]
    if "REF" in labels:
        is_imaged = labels.get("IMA", torch.zeros_like(labels["REF"])) != 0
        left_out.append((labels["REF"] != 0) & ~is_imaged)
    if not left_out:
        return slice(None)
    chosen = torch.nonzero(~torch.stack(left_out).any(0)).ravel().cpu()
    if len(chosen) == 0:
        raise SequenceError(
            "all samples are labelled NAV, NOISE or REF, which do not count into the image; set "
            "the label to 0 where the image is sampled"
        )
    return chosen


def _several(what: str, label: str | None = None, volume: bool = False) -> SequenceError:
    one = "mask" if label is None else f"repetitions.labels[{label!r}] == 0"
    instead = "" if label is None else "take acquisition.images, an image for each, "
    if volume:
        instead = "give matrix and field of view of three numbers, if it is a volume, "
    return SequenceError(
        f"the samples are {what}, whose sum is no image; let the sequence sample one, label "
        f"others NAV, {instead}or reconstruct the samples of one, "
        f"pulseq_zero.reconstruct(signal[{one}], kspace[{one}], matrix, fov)"
    )
