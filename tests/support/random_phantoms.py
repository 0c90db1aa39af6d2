"""Random phantoms of few voxels, and what can be done to them: parts, permutations, copies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, get_args

import MRzeroCore as mr0
import numpy as np
import torch
from numpy.typing import NDArray

from support.random_sequences import FOV

Distribution = Literal["homogeneous", "random", "bimodal", "outlying", "smooth"]
Shape = Literal["sinc", "box", "point"]

DISTRIBUTIONS: tuple[Distribution, ...] = get_args(Distribution)
# Those whose voxels differ
UNEQUAL = DISTRIBUTIONS[1:]
SHAPES: tuple[Shape, ...] = get_args(Shape)

Generator = np.random.Generator
Array = NDArray[np.float64]

# Ranges of T1, T2, T2' [s], D [1e-3 mm²/s], B0 [Hz] and B1
_RANGES = {
    "T1": (0.2, 3.0),
    "T2": (0.03, 0.4),
    "T2dash": (0.01, 0.3),
    "D": (0.1, 3.0),
    "B0": (-80.0, 80.0),
    "B1": (0.5, 1.3),
}
_COMMON = {"T1": 1.0, "T2": 0.08, "T2dash": 0.05, "D": 1.0, "B0": 5.0, "B1": 1.0}
_FAR_OFF = {"T1": 4.0, "T2": 1.5, "T2dash": 1.0, "D": 3.0, "B0": 150.0, "B1": 0.2}
_THICKNESS = 8e-3


def random_phantom(
    rng: Generator,
    distribution: Distribution = "random",
    shape: Shape | None = None,
    *,
    voxels: int | None = None,
    coils: int = 1,
    complex_B1: bool = False,
) -> mr0.SimData:
    """Make a phantom of one slice, of voxels anywhere on a grid.

    Parameters
    ----------
    rng
        What is random.
    distribution
        ``"homogeneous"``: all voxels alike, with B1 = 1. ``"random"``: all different.
        ``"bimodal"``: of two kinds. ``"outlying"``: alike but for 2 %, one at least, that are far
        off. ``"smooth"``: maps are polynomials of the position.
    shape
        Of the voxels; None draws one.
    voxels
        Their number; None draws 4 to 60.
    coils
        Number of coils, with complex sensitivities if there are several.
    complex_B1
        Whether the transmit field has a phase.
    """
    matrix = int(rng.integers(8, 17))
    count = int(rng.integers(4, 61)) if voxels is None else voxels
    chosen = rng.choice(matrix * matrix, min(count, matrix * matrix), replace=False)
    place = np.stack(np.unravel_index(chosen, (matrix, matrix)), 1)
    position = (place - matrix // 2) / matrix
    values = _DRAW[distribution](rng, position)
    PD = rng.uniform(0.3, 1.0, len(chosen))
    field = values.pop("B1") * np.exp(1j * _polynomial(rng, position) * float(complex_B1))
    sensitivity = np.stack([
        np.exp(-2 * ((position - c) ** 2).sum(1) + 1j * _polynomial(rng, position))
        if coils > 1
        else np.ones(len(chosen))
        for c in rng.uniform(-0.5, 0.5, (coils, 2))
    ])  # fmt: skip

    def grid(of_voxels: NDArray, rest: float = 1.0) -> torch.Tensor:
        full = np.full((*of_voxels.shape[:-1], matrix, matrix, 1), rest, of_voxels.dtype)
        full[..., place[:, 0], place[:, 1], 0] = of_voxels
        return torch.from_numpy(full)

    size = torch.tensor([FOV / matrix, FOV / matrix, _THICKNESS])
    return mr0.VoxelGridPhantom(
        PD=grid(PD, 0.0),
        **{name: grid(value) for name, value in values.items()},
        B1=grid(field[None]),
        coil_sens=grid(sensitivity.astype(complex)),
        affine=torch.diag(size).mul(1000) @ torch.eye(3, 4),
    ).build(voxel_shape=shape or SHAPES[rng.integers(len(SHAPES))])


def chosen_voxels(data: mr0.SimData, voxels: NDArray | list[int]) -> mr0.SimData:
    """Return the phantom of some voxels, in a given order and as often as they are named.

    Grid, voxel shape and Nyquist frequency stay.
    """
    index = torch.as_tensor(np.asarray(voxels, dtype=np.int64))
    return mr0.SimData(
        PD=data.PD[index],
        T1=data.T1[index],
        T2=data.T2[index],
        T2dash=data.T2dash[index],
        D=data.D[index],
        B0=data.B0[index],
        B1=data.B1[:, index],
        coil_sens=data.coil_sens[:, index],
        size=data.size,
        affine=data.affine,
        voxel_pos=data.voxel_pos[index],
        nyquist=data.nyquist,
        dephasing_func=data.dephasing_func,
    )


def changed(data: mr0.SimData, **maps: Any) -> mr0.SimData:
    """Return a copy of the phantom with other maps, Nyquist frequency or voxel shape."""
    copy = chosen_voxels(data, np.arange(len(data.PD)))
    for name, values in maps.items():
        assert hasattr(copy, name), name
        setattr(copy, name, values)
    return copy


def random_parts(data: mr0.SimData, rng: Generator, count: int | None = None) -> list[mr0.SimData]:
    """Cut a phantom into parts, none of them empty, each with every voxel at random.

    Parameters
    ----------
    data
        The phantom.
    rng
        What is random.
    count
        Number of parts; None draws 2 to 5.
    """
    voxels = len(data.PD)
    count = int(rng.integers(2, 6)) if count is None else count
    order = rng.permutation(voxels)
    cuts = rng.choice(np.arange(1, voxels), min(count, voxels) - 1, replace=False)
    return [chosen_voxels(data, part) for part in np.split(order, np.sort(cuts))]


def _polynomial(rng: Generator, position: Array) -> Array:
    """Return a random polynomial of second degree, within -1 and 1 over the field of view."""
    x, y = position.T
    terms = np.stack([np.ones_like(x), 2 * x, 2 * y, 4 * x * x, 4 * y * y, 4 * x * y])
    weight = rng.normal(size=len(terms))
    return weight / np.abs(weight).sum() @ terms


def _homogeneous(rng: Generator, position: Array) -> dict[str, Array]:
    return {name: np.full(len(position), value) for name, value in _COMMON.items()}


def _random(rng: Generator, position: Array) -> dict[str, Array]:
    return {name: rng.uniform(*ends, len(position)) for name, ends in _RANGES.items()}


def _bimodal(rng: Generator, position: Array) -> dict[str, Array]:
    is_second = rng.random(len(position)) < rng.uniform(0.1, 0.9)
    values = {}
    for name, ends in _RANGES.items():
        first, second = rng.uniform(*ends, 2)
        scatter = 0.01 * (ends[1] - ends[0]) * rng.uniform(0, 1, len(position))
        values[name] = np.where(is_second, first, second) + scatter
    return values


def _outlying(rng: Generator, position: Array) -> dict[str, Array]:
    outliers = rng.permutation(len(position)) < max(1, round(0.02 * len(position)))
    values = _homogeneous(rng, position)
    # Sometimes in all respects, sometimes in B1 alone
    off = _FAR_OFF if rng.random() < 0.5 else {"B1": _FAR_OFF["B1"]}
    for name, value in off.items():
        values[name] = np.where(outliers, value, values[name])
    return values


def _smooth(rng: Generator, position: Array) -> dict[str, Array]:
    return {
        name: (ends[0] + ends[1]) / 2 + (ends[1] - ends[0]) / 2 * _polynomial(rng, position)
        for name, ends in _RANGES.items()
    }


_DRAW: dict[Distribution, Callable[[Generator, Array], dict[str, Array]]] = {
    "homogeneous": _homogeneous,
    "random": _random,
    "bimodal": _bimodal,
    "outlying": _outlying,
    "smooth": _smooth,
}
