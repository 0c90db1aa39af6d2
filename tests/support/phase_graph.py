"""A phase graph without any truncation, from the definition, in plain NumPy and complex128.

Within a voxel the magnetisation is a Fourier series in the dephasing p = (k, τ),

M+(p) = Σ F(p) exp(SENSE 2πi (k·r + τ B0)),   Mz = Σ Z(p) exp(SENSE 2πi (k·r + τ B0)),

with Z(-p) = Z(p)* as Mz is real (Hennig, Conc Magn Reson 1991, doi:10.1002/cmr.1820030302; Weigel,
JMRI 2015, doi:10.1002/jmri.24619). A pulse turns F(p), F(-p)* and Z(p) into each other, by one
3 x 3 matrix a voxel, and leaves p alone; the time until the next moves F and leaves Z. So half of
all p are enough: each row here stands for p and -p. Rows of equal position are added up, and
nothing is ever left out: the number of rows is bounded by the sequence only.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import MRzeroCore as mr0
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array

from pulseq_zero.conversion.repetitions import Repetitions

# The sense in which spins above the carrier's frequency turn: exp(SENSE 2πi f t).
SENSE = 1.0

# Positions that agree to this part of the sequence's extent are one.
_SAME = 1e-10

Array = NDArray[Any]


@dataclass
class _States:
    """Rows of the graph; the first is that without dephasing.

    Attributes
    ----------
    place
        (rows, 4) k [1/m] and τ [s].
    ahead, behind, along
        (rows, voxels) F(p), F(-p)* and Z(p).
    """

    place: Array
    ahead: Array
    behind: Array
    along: Array

    def transverse(self) -> tuple[Array, Array]:
        """Return positions (states, 4) and F (states, voxels) of all transverse states."""
        # The row without dephasing has only one: F(0) and F(-0) are the same
        place = np.concatenate([self.place, -self.place[1:]])
        return place, np.concatenate([self.ahead, self.behind[1:].conj()])


def phase_graph_signal(
    repetitions: Repetitions, data: mr0.SimData, initial: Array | None = None
) -> Array:
    """Simulate a sequence exactly.

    Parameters
    ----------
    repetitions
        The sequence.
    data
        The phantom.
    initial
        (voxels,) longitudinal magnetisation before the first pulse; None for full relaxation.

    Returns
    -------
    Array
        (samples, coils) complex128.
    """
    angle, phase = _numbers(repetitions.pulse_angle), _numbers(repetitions.pulse_phase)
    moment, time = _numbers(repetitions.gradient_moment), _numbers(repetitions.event_time)
    sampled, receiver = repetitions.adc_usage.numpy() > 0, _numbers(repetitions.adc_phase)
    R1, R2, D = 1 / _numbers(data.T1), 1 / _numbers(data.T2), 1e-9 * _numbers(data.D)
    voxels = len(R1)
    field = _field(repetitions, data)
    same = _SAME * np.append(np.abs(moment).sum(0), time.sum()).clip(min=1e-6)
    states = _States(
        place=np.zeros((1, 4)),
        ahead=np.zeros((1, voxels), complex),
        behind=np.zeros((1, voxels), complex),
        along=np.ones((1, voxels), complex) * (1.0 if initial is None else initial),
    )
    signal, event = [], 0
    for number, count in enumerate(repetitions.event_count):
        flip, axis = angle[number] * np.abs(field[number]), phase[number] + np.angle(field[number])
        _pulse(states, flip, axis)
        events = slice(event, event + count)
        move, linear, quadratic = _course(moment[events], time[events])
        seen = np.flatnonzero(sampled[events])
        if len(seen):
            answer = _sample(states, move[seen], linear[seen], quadratic[seen], data)
            signal.append(answer * np.exp(1j * receiver[events][seen])[:, None])
        total = move[-1]
        place, moved = states.transverse()
        b = _weighting(place, total[3], linear[-1], quadratic[-1])
        moved *= np.exp(-total[3] * R2 - np.outer(b, D))
        b = _weighting(states.place, total[3], np.zeros(3), 0.0)
        states.along *= np.exp(-total[3] * R1 - np.outer(b, D))
        states.along[0] += 1 - np.exp(-total[3] * R1)
        states = _merged(place + total, moved, states.place, states.along, same)
        event += count
    return np.concatenate(signal)


def slopes(
    repetitions: Repetitions,
    data: mr0.SimData,
    name: str,
    directions: Iterable[torch.Tensor],
    step: float,
) -> Array:
    """Differentiate the signal by a tensor of the sequence, along some directions.

    Parameters
    ----------
    repetitions, data
        Sequence and phantom.
    name
        Of the tensor, for example ``"pulse_angle"``.
    directions
        Tensors of its shape.
    step
        Of the central differences, as a multiple of the direction.

    Returns
    -------
    Array
        (directions, samples, coils) complex128.
    """

    def signal(direction: torch.Tensor, change: float) -> Array:
        values = getattr(repetitions, name).detach() + change * direction
        return phase_graph_signal(replace(repetitions.detach(), **{name: values}), data)

    return np.array([(signal(d, step) - signal(d, -step)) / (2 * step) for d in directions])


def _numbers(tensor: torch.Tensor) -> Array:
    return tensor.detach().double().numpy()


def _field(repetitions: Repetitions, data: mr0.SimData) -> Array:
    """Return the (repetitions, voxels) complex transmit field."""
    channels = data.B1.detach().to(torch.complex128).numpy()
    if repetitions.shim is None:
        return np.broadcast_to(channels.sum(0), (len(repetitions.pulse_use), channels.shape[1]))
    return repetitions.shim.detach().to(torch.complex128).numpy() @ channels


def _pulse(states: _States, flip: Array, axis: Array) -> None:
    """Turn by the right hand about an axis in the transverse plane, at an angle from x."""
    cos, sin, turn = np.cos(flip), np.sin(flip), np.exp(1j * axis)
    stay, mirror = np.cos(flip / 2) ** 2, np.sin(flip / 2) ** 2
    ahead, behind, along = states.ahead, states.behind, states.along
    states.ahead = stay * ahead + mirror * turn**2 * behind - 1j * sin * turn * along
    states.behind = mirror * turn**-2 * ahead + stay * behind + 1j * sin / turn * along
    states.along = 0.5j * sin * (turn * behind - ahead / turn) + cos * along


def _course(moment: Array, time: Array) -> tuple[Array, Array, Array]:
    """Integrate the moment since the pulse, κ, which changes linearly within an event.

    Returns
    -------
    move, linear, quadratic
        κ [1/m] and time [s] at the events' ends (events, 4), and up to there the integrals
        ∫ 2κ dt (events, 3) and ∫ |κ|² dt (events,).
    """
    after = np.cumsum(moment, 0)
    before = after - moment
    square = (before * before + before * after + after * after).sum(1) / 3
    return (
        np.column_stack([after, np.cumsum(time)]),
        np.cumsum((before + after) * time[:, None], 0),
        np.cumsum(square * time),
    )


def _weighting(place: Array, time: float, linear: Array, quadratic: float) -> Array:
    """Return b = (2π)² ∫ |k + κ|² dt of each position [s/m²]."""
    k = place[:, :3]
    return (2 * np.pi) ** 2 * ((k * k).sum(1) * time + k @ linear + quadratic)


def _sample(
    states: _States, move: Array, linear: Array, quadratic: Array, data: mr0.SimData
) -> Array:
    """Add up what all transverse states give to the samples (samples, coils)."""
    R2, R2dash, D = 1 / _numbers(data.T2), 1 / _numbers(data.T2dash), 1e-9 * _numbers(data.D)
    along = np.column_stack([_numbers(data.voxel_pos), _numbers(data.B0)])
    weight = data.coil_sens.detach().to(torch.complex128).numpy() * np.abs(_numbers(data.PD))
    place, value = states.transverse()
    value = value * np.exp(SENSE * 2j * np.pi * (place @ along.T))
    turn = np.exp(SENSE * 2j * np.pi * (move @ along.T) - np.outer(move[:, 3], R2))
    result = np.empty((len(move), len(weight)), complex)
    for e in range(len(move)):
        k = torch.from_numpy(place[:, :3] + move[e, :3])
        shape = data.dephasing_func(k, data.nyquist).numpy()
        b = _weighting(place, move[e, 3], linear[e], quadratic[e])
        left = np.exp(-np.outer(np.abs(place[:, 3] + move[e, 3]), R2dash) - np.outer(b, D))
        result[e] = weight @ (turn[e] * np.einsum("s,sv,sv->v", shape, left, value))
    return result


def _merged(place: Array, moved: Array, rest: Array, along: Array, same: Array) -> _States:
    """Put states at their positions into rows, those of p and -p into one."""
    everywhere = np.concatenate([place, rest])
    side = _side(everywhere, same)
    everywhere = np.where(side[:, None] < 0, -everywhere, everywhere)
    row, first = _rows(everywhere, same)
    # The row without dephasing comes first
    zero = row[len(place)]
    order = np.append(zero, np.delete(np.arange(len(first)), zero))
    row, first = np.argsort(order)[row], first[order]

    def summed(chosen: Array, values: Array) -> Array:
        ones = np.ones(len(chosen))
        return csr_array(
            (ones, (chosen, np.arange(len(chosen)))), shape=(len(first), len(values))
        ) @ values  # fmt: skip

    move, moving_side = row[: len(place)], side[: len(place)]
    ahead = summed(move[moving_side >= 0], moved[moving_side >= 0])
    behind = summed(move[moving_side < 0], moved[moving_side < 0].conj())
    behind[0] = ahead[0].conj()
    new = everywhere[first]
    new[0] = 0.0
    return _States(new, ahead, behind, summed(row[len(place) :], along))


def _side(place: Array, same: Array) -> Array:
    """Return the sign of the first coordinate that is not zero."""
    side = np.zeros(len(place))
    for axis in range(place.shape[1]):
        coordinate = place[:, axis]
        undecided = (side == 0) & (np.abs(coordinate) > same[axis])
        side[undecided] = np.sign(coordinate[undecided])
    return side


def _rows(place: Array, same: Array) -> tuple[Array, Array]:
    """Return a number for each distinct position, and an example of each."""
    key = np.zeros(len(place), np.int64)
    for axis in range(place.shape[1]):
        order = np.argsort(place[:, axis], kind="stable")
        steps = np.append(0, np.cumsum(np.diff(place[order, axis]) > same[axis]))
        label = np.empty(len(place), np.int64)
        label[order] = steps
        key = key * (steps[-1] + 1) + label
    _, first, row = np.unique(key, return_index=True, return_inverse=True)
    return row, first
