"""The voxels in which the prepass follows the states."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pulseq_zero.conversion.repetitions import Repetitions
from pulseq_zero.simulation.pdg.answer import Answer, grid_size
from pulseq_zero.simulation.pdg.voxels import check_channels

if TYPE_CHECKING:
    import MRzeroCore as mr0

# At most so many parts; fewer where the spectra of a large grid would take too much memory.
_MOST, _FEWEST, _VALUES = 48, 8, 2**24

# Differences that count alike: of the transmit field, of the logarithms of relaxation times, of
# the logarithm of the diffusion coefficient, of the initial magnetisation.
_FIELD, _TIME, _DIFFUSION, _INITIAL = 0.05, 0.7, 1.4, 0.1
# Where pulses are played, of off-resonance, too [Hz].
_OFFSET = 50.0

# A stack of cells is followed in as many of them, others in each part.
_FOLLOWED = 4

# Of faster rates of T2' nothing is ever seen [1/s].
_FASTEST = 1e6

# A part is cut as long as its range, weighed by a root of its share, is larger than this: so
# light is no part that a few voxels far from all others could hide in it.
_CLOSE = 0.5
_ROOT = 0.25


@dataclass(frozen=True)
class Representatives:
    """Some voxels that stand for all, each for a part of the phantom.

    No average voxel can: where one has refocusing pulses of 180°, the stimulated echoes of all
    others are missing. So each voxel has a representative that is much like it, and the fewer
    there are of a kind, the less of the signal theirs is.

    Attributes
    ----------
    R1, R2, R2dash
        (representatives,) relaxation rates [1/s].
    D
        (representatives,) diffusion coefficients [m²/s].
    transmit
        (channels, representatives) complex transmit field, up to a phase that turns all states.
    initial
        (representatives,) longitudinal magnetisation before the first pulse.
    share
        (representatives,) of the proton density.
    B0
        (representatives,) mean off-resonance of their parts [Hz].
    B0_spread
        Root mean square over the phantom of the distance from that [Hz].
    bending, cusp
        How far what T2' leaves of states is off a line over the dephasing time: root mean square
        over the phantom of its second derivative [1/s²], and of the step of its first one at an
        echo [1/s].
    answer
        What their parts of the phantom answer to dephasing.
    """

    R1: NDArray[np.float64]
    R2: NDArray[np.float64]
    R2dash: NDArray[np.float64]
    D: NDArray[np.float64]
    transmit: NDArray[np.complex128]
    initial: NDArray[np.complex128]
    share: NDArray[np.float64]
    B0: NDArray[np.float64]
    B0_spread: float
    bending: float
    cusp: float
    answer: Answer

    @classmethod
    def of(
        cls, data: mr0.SimData, initial: Tensor | None = None, *, by_offset: bool = False
    ) -> Representatives:
        """Cut the phantom into parts of voxels that are much alike.

        Parameters
        ----------
        data
            The phantom.
        initial
            (voxels,) longitudinal magnetisation before the first pulse; None for full relaxation.
        by_offset
            Whether voxels of different off-resonance are unlike.
        """
        weight = data.PD.detach().abs().double().cpu().numpy()
        if not weight.any():
            weight = np.ones_like(weight)
        transmit = data.B1.detach().to(torch.complex128).cpu().resolve_conj().numpy()
        transmit = transmit * np.exp(-1j * np.angle(transmit.sum(0)))
        start = np.ones(len(weight), complex)
        if initial is not None:
            start = initial.detach().to(torch.complex128).cpu().resolve_conj().numpy()
        rates = {
            name: 1 / getattr(data, name).detach().abs().double().cpu().numpy()
            for name in ("T1", "T2", "T2dash")
        }
        diffusion = 1e-9 * data.D.detach().double().cpu().numpy()
        offset = data.B0.detach().double().cpu().numpy()
        features = np.stack([
            *transmit.real / _FIELD,
            *transmit.imag / _FIELD,
            *(_logarithm(rate) / _TIME for rate in rates.values()),
            _logarithm(diffusion) / _DIFFUSION,
            start.real / _INITIAL,
            start.imag / _INITIAL,
            *([offset / _OFFSET] if by_offset else []),
        ])  # fmt: skip
        most = min(_MOST, max(_FEWEST, _VALUES // grid_size(data)))
        part = _parts(features, weight, most)
        share = np.bincount(part, weight)
        decay = np.minimum(rates["T2dash"], _FASTEST)
        safe = np.maximum(share, np.finfo(float).tiny)

        def mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
            return np.bincount(part, weight * values) / safe

        def slow(values: NDArray[np.float64]) -> NDArray[np.float64]:
            """Return the mean less the scatter: what decays slowly is seen last."""
            centre = mean(values)
            scatter = np.sqrt(mean((values - centre[part]) ** 2))
            lowest = np.full(len(share), np.inf)
            np.minimum.at(lowest, part, values)
            return np.maximum(centre - scatter, lowest)

        of_part = mean(offset)
        spread = (offset - of_part[part]) ** 2 @ weight / weight.sum()
        return cls(
            R1=slow(rates["T1"]),
            R2=slow(rates["T2"]),
            R2dash=slow(rates["T2dash"]),
            D=slow(diffusion),
            transmit=np.stack([mean(c.real) + 1j * mean(c.imag) for c in transmit]),
            initial=mean(start.real) + 1j * mean(start.imag),
            share=share / share.sum(),
            B0=of_part,
            B0_spread=float(np.sqrt(spread)),
            bending=float(np.sqrt(decay**4 @ weight / weight.sum())),
            cusp=2 * float(np.sqrt(decay**2 @ weight / weight.sum())),
            answer=Answer.of(data, part),
        )

    def stacked(
        self, cells: int, layers: int = 1
    ) -> tuple[Representatives, NDArray[np.int64], NDArray[np.int64]]:
        """Put some of the cells of a stack in the place of each representative.

        Parameters
        ----------
        cells
            Number of the cells of all layers, one layer behind the other.
        layers
            Number of layers: a pulse may act in one of them and not in another.

        Returns
        -------
        cells, part, cell
            The representatives, and for each of them which one it comes from and which cell it is.
        """
        parts = len(self.share)
        most = _FOLLOWED if layers == 1 else max(_FOLLOWED, _FOLLOWED * _MOST // parts)
        followed = min(cells, most)
        bounds = np.linspace(0, cells, followed + 1).astype(int)
        part, group = np.divmod(np.arange(parts * followed), followed)
        first, width = bounds[group], np.diff(bounds)[group]
        # Steps of the golden ratio spread evenly however many there are
        cell = first + np.floor((part + 1) * 0.6180339887 % 1 * width).astype(int)
        share = width / cells
        column = np.append(part, parts)
        scale = np.append(share, 1.0)
        answer = replace(
            self.answer,
            amplitude=np.ascontiguousarray(self.answer.amplitude[..., column] * scale, np.float32),
            noise=(self.answer.noise[column] * scale**2).astype(np.float32),
            coherence=np.ascontiguousarray(self.answer.coherence[:, column]),
        )
        made = replace(
            self,
            **{name: getattr(self, name)[part] for name in ("R1", "R2", "R2dash", "D", "B0")},
            transmit=self.transmit[:, part],
            initial=self.initial[part],
            share=self.share[part] * share,
            answer=answer,
        )
        return made, part, cell

    def field(self, repetitions: Repetitions) -> NDArray[np.complex128]:
        """Return what the channels add up to in each pulse, (repetitions, representatives)."""
        if repetitions.shim is None:
            shim = np.ones((len(repetitions.event_count), len(self.transmit)))
        else:
            check_channels(repetitions.shim, len(self.transmit))
            shim = repetitions.shim.detach().to(torch.complex128).cpu().resolve_conj().numpy()
        field: NDArray[np.complex128] = shim @ self.transmit
        return field


def _logarithm(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.log(np.clip(values, 1e-30, 1e30))


def _parts(
    features: NDArray[np.float64], weight: NDArray[np.float64], most: int
) -> NDArray[np.int64]:
    """Cut voxels into parts of small range, and return the part of each.

    The part that is the largest and the most varied is cut in the middle of its range, not of
    its voxels: so that those far from all others come to lie in one of their own.
    """
    total = weight.sum()
    parts: list[NDArray[np.int64]] = []
    waiting = [np.arange(len(weight))]
    costs: list[float] = []

    def cost_of(part: NDArray[np.int64]) -> float:
        return float(np.ptp(features[:, part], 1).max() * (weight[part].sum() / total) ** _ROOT)

    costs = [cost_of(waiting[0])]
    while len(parts) + len(waiting) < most and waiting:
        at = int(np.argmax(costs))
        part, cost = waiting.pop(at), costs.pop(at)
        if cost <= _CLOSE:
            parts.append(part)
            continue
        lowest, highest = features[:, part].min(1), features[:, part].max(1)
        axis = int(np.argmax(highest - lowest))
        upper = features[axis, part] > 0.5 * (lowest[axis] + highest[axis])
        for half in (part[~upper], part[upper]):
            waiting.append(half)
            costs.append(cost_of(half))
    number = np.empty(len(weight), np.int64)
    for index, part in enumerate([*parts, *waiting]):
        number[part] = index
    return number
