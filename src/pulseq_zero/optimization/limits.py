r"""What a sequence costs the patient and the hardware, and whether both can bear it.

Before the optimization ends, as differentiable penalties of parameters (`PulseShapes`, and those of
`pulseq_zero.optimization.penalties`); as bounds that parameters cannot leave
(`pulseq_zero.Parameter`); and afterwards as a check of the sequence that was exported
(`check_limits`).

A pulse of amplitude :math:`s(t)` in Hz is the field :math:`B_1 = s / \gamma`, with
:math:`\gamma` in Hz/T.
"""

from __future__ import annotations

import copy
import math
import tempfile
import warnings
from collections.abc import Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pypulseq
import scipy
import torch
from numpy.typing import NDArray
from pypulseq.Sequence.calc_pns import calc_pns
from pypulseq.utils import safe_pns_prediction
from pypulseq.utils.safe_pns_prediction import safe_example_hw
from pypulseq.utils.siemens.asc_to_hw import asc_to_hw
from pypulseq.utils.siemens.readasc import readasc
from torch import Tensor

from pulseq_zero.conversion.pulses import sample_durations
from pulseq_zero.errors import ConfigError, SequenceError
from pulseq_zero.tracing.pypulseq.twin import on_globals

# Numbers in a .seq file have six digits
_DIGITS = 1e-5

# Waveforms are made of corners; corners this near to each other [s] are one
_SAME_TIME = 1e-9

# The SAFE model looks at every raster time; its slowest filter forgets within 3 ms, so that the
# seconds that a sequence waits may be cut to this [s]
_NERVES_FORGET = 0.1

RF_LIMITS = {"rf_energy": "T² s", "b1_rms": "T", "b1_peak": "T"}


@dataclass(frozen=True)
class PulseShapes:
    r"""What each pulse of a sequence costs for its flip angle, while its shape stays.

    A pulse of shape :math:`s` turns by :math:`\alpha = 2\pi |\int s\,dt|`. Scaled to another
    angle, its energy and its peak are

    .. math:: \int |B_1|^2 dt = \alpha^2 \frac{\int |s|^2 dt}{(2\pi\gamma |\int s\,dt|)^2},
              \qquad \max |B_1| = \alpha \frac{\max |s|}{2\pi\gamma |\int s\,dt|}.

    Adiabatic pulses turn by another angle, and do not scale so.

    Attributes
    ----------
    energy_per_square
        (pulses,) energy of a pulse of one radian [T² s / rad²].
    peak_per_radian
        (pulses,) peak of a pulse of one radian [T / rad].
    duration
        Duration of the sequence [s].
    """

    energy_per_square: Tensor
    peak_per_radian: Tensor
    duration: float

    @classmethod
    def of(cls, sequence: pypulseq.Sequence) -> PulseShapes:
        """Find the shapes of a sequence's pulses, in the order in which they are played.

        Raises
        ------
        SequenceError
            If a pulse turns nothing, and so has no shape that could be scaled.
        """
        pulses = _pulses(sequence)
        turns = 2 * math.pi * np.array([pulse.integral for pulse in pulses])
        if not np.all(turns > 0):
            number = int(np.argmin(turns))
            raise SequenceError(
                f"pulse {number} has a flip angle of zero, which no factor scales; take the "
                "shapes of a sequence whose flip angles are not zero"
            )
        return cls(
            torch.from_numpy(np.array([pulse.energy for pulse in pulses]) / turns**2),
            torch.from_numpy(np.array([pulse.peak for pulse in pulses]) / turns),
            float(sequence.duration()[0]),
        )

    def energy(self, flip_angles: Tensor) -> Tensor:
        """RF energy ∫|B1|² dt of all pulses [T² s], of (pulses,) flip angles [rad]."""
        return (self.energy_per_square * flip_angles.square()).sum()

    def b1_rms(self, flip_angles: Tensor) -> Tensor:
        """B1+rms over the sequence [T], of (pulses,) flip angles [rad]."""
        return (self.energy(flip_angles) / self.duration).sqrt()

    def peak(self, flip_angles: Tensor) -> Tensor:
        """(pulses,) peak B1 of each pulse [T], of (pulses,) flip angles [rad]."""
        return self.peak_per_radian * flip_angles.abs()


def check_limits(
    sequence: pypulseq.Sequence,
    system: pypulseq.Opts,
    rf_limits: Mapping[str, float] | None = None,
    pns_hardware: Path | str | None = None,
) -> pd.DataFrame:
    """Check a sequence against the limits that a scanner has.

    Gradients are checked against the system that the sequence was made for, timing by
    PyPulseq, and peripheral nerve stimulation (PNS) by the SAFE model (Hebrank and Gebhardt,
    Proc. ISMRM 8, 2000, 2007) with the values of a scanner. Without these, it is stated for the
    example hardware of safe_pns_prediction (Szczepankiewicz and Witzel), which is no real
    scanner, and not judged.

    Parameters
    ----------
    sequence
        The sequence, as `pulseq_zero.files.seq.read_seq` reads it.
    system
        The system that it was made for.
    rf_limits
        Limits of ``rf_energy`` [T² s], ``b1_rms`` [T] and ``b1_peak`` [T]; without one, the
        value is stated and not judged.
    pns_hardware
        A Siemens scanner's ``.asc`` file of its gradient system.

    Returns
    -------
    DataFrame
        ``quantity``, ``value``, ``unit``, ``limit``, and ``passed``: true, false, or missing
        where there is no limit.

    Raises
    ------
    ConfigError
        If there is no such quantity, or if the file is missing or has no values for PNS.
    SequenceError
        If the sequence is empty.
    """
    limits = dict(rf_limits or {})
    unknown = sorted(set(limits) - set(RF_LIMITS))
    if unknown:
        raise ConfigError(f"there is no RF limit {unknown[0]!r}; the limits are {list(RF_LIMITS)}")
    hardware = _hardware(pns_hardware) if pns_hardware else safe_example_hw()
    if not sequence.block_events:
        raise SequenceError("the sequence holds no blocks, so there is nothing to check")
    # A file states neither limits nor dead times
    sequence = copy.copy(sequence)
    sequence.system, sequence.block_cache = system, {}
    pulses, duration = _pulses(sequence), float(sequence.duration()[0])
    energy = sum(pulse.energy for pulse in pulses)
    found = {
        "rf_energy": energy,
        "b1_rms": math.sqrt(energy / duration) if duration > 0 else 0.0,
        "b1_peak": max((pulse.peak for pulse in pulses), default=0.0),
    }
    rows = [(name, value, RF_LIMITS[name], limits.get(name)) for name, value in found.items()]
    amplitude, slew = _gradients(sequence)
    rows += [
        ("gradient_amplitude", amplitude, "T/m", system.max_grad / system.gamma),
        ("gradient_slew", slew, "T/m/s", system.max_slew / system.gamma),
        ("timing_errors", len(sequence.check_timing()[1]), "", 0),
        ("pns", _nerve_stimulation(sequence, hardware), "", 1.0 if pns_hardware else None),
    ]
    table = pd.DataFrame(rows, columns=["quantity", "value", "unit", "limit"])
    passed = table["value"] <= table["limit"] * (1 + _DIGITS)
    table["passed"] = passed.astype("boolean").mask(table["limit"].isna())
    return table.astype({"value": float, "limit": float})


@dataclass(frozen=True)
class _Pulse:
    """Integral |∫ s dt| [rotations], energy [T² s] and peak [T] of a pulse."""

    integral: float
    energy: float
    peak: float


def _pulses(sequence: pypulseq.Sequence) -> list[_Pulse]:
    gamma = sequence.system.gamma
    pulses = []
    for number in sequence.block_events:
        rf = sequence.get_block(number).rf
        if rf is not None:
            durations, signal = sample_durations(rf), np.asarray(rf.signal)
            pulses.append(
                _Pulse(
                    float(abs(np.sum(signal * durations))),
                    float(np.sum(np.abs(signal) ** 2 * durations)) / gamma**2,
                    float(np.abs(signal).max()) / gamma,
                )
            )
    return pulses


def _gradients(sequence: pypulseq.Sequence) -> tuple[float, float]:
    """Largest amplitude [T/m] and slew rate [T/m/s] of any axis."""
    amplitude = slew = 0.0
    for time, strength in sequence.waveforms():
        if len(time) > 1:
            step, change = np.diff(time), np.abs(np.diff(strength))
            amplitude = max(amplitude, float(np.abs(strength).max()))
            lasts = step > _SAME_TIME
            slew = max(slew, float(np.max(change[lasts] / step[lasts], initial=0.0)))
            if np.any(change[~lasts] > _DIGITS * sequence.system.max_grad):
                slew = math.inf
    return amplitude / sequence.system.gamma, slew / sequence.system.gamma


def _hardware(path: Path | str) -> SimpleNamespace:
    """Read the values of a scanner that its nerve stimulation is computed with."""
    try:
        # Comments have letters of any encoding
        text = Path(path).read_text(encoding="utf-8", errors="replace")
        with tempfile.TemporaryDirectory() as folder, redirect_stdout(StringIO()) as said:
            plain = Path(folder) / "scanner.asc"
            plain.write_text(text, encoding="ascii", errors="replace")
            values, _ = readasc(str(plain))
            hardware = asc_to_hw(values)
    except FileNotFoundError as error:
        raise ConfigError(
            f"limits.pns_hardware: {path} does not exist; correct the path"
        ) from error
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise ConfigError(
            f"limits.pns_hardware: {path} has no values for nerve stimulation ({error}); give the "
            ".asc file of the scanner's gradient system, of which these are a part"
        ) from error
    if "Warning" in said.getvalue():
        warnings.warn(
            f"limits.pns_hardware: {path} has no scale factors of gradients: 1/π is taken",
            stacklevel=3,
        )
    return hardware


def _nerve_stimulation(sequence: pypulseq.Sequence, hardware: SimpleNamespace) -> float:
    """Largest stimulation over the sequence, 1 at the limit."""
    if all(gradient is None for gradient in sequence.get_gradients()):
        return 0.0
    brief = copy.copy(sequence)
    brief.block_durations = {
        number: min(duration, _gradient_end(sequence.get_block(number)) + _NERVES_FORGET)
        for number, duration in sequence.block_durations.items()
    }
    # A copy of PyPulseq's own model finds the faster filter; PyPulseq itself stays as it is
    model = {**vars(safe_pns_prediction), "safe_tau_lowpass": _lowpass}
    for name in ("safe_pns_model", "safe_gwf_to_pns"):
        model[name] = on_globals(model[name], model)
    _, stimulation, _, _ = on_globals(calc_pns, calc_pns.__globals__ | model)(
        brief, hardware, do_plots=False
    )
    return float(stimulation.max())


def _lowpass(slope: NDArray[np.float64], tau: float, dt: float) -> NDArray[np.float64]:
    """PyPulseq's filter as the recursion that it is, not as a sum of 11,000 terms a sample."""
    alpha = dt / (tau + dt)
    return np.asarray(scipy.signal.lfilter([alpha], [1, alpha - 1], slope))


def _gradient_end(block: SimpleNamespace) -> float:
    """When the last gradient of a block ends [s]."""
    gradients = [each for each in (block.gx, block.gy, block.gz) if each is not None]
    return float(pypulseq.calc_duration(*gradients)) if gradients else 0.0
