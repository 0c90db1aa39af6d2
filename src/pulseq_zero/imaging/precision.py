"""How precisely tissue can be told from a signal: the Cramer-Rao bound."""

from __future__ import annotations

import torch
from torch import Tensor

from pulseq_zero.errors import SimulationError, check_number, shown

# Slopes are exact to a part of 1e-6 or better: smaller eigenvalues of the information, scaled to
# one, are none.
_SINGULAR = 1e-10


def crlb(jacobian: Tensor, deviation: float) -> Tensor:
    r"""Return the Cramer-Rao lower bound of the variance of an unbiased estimate of tissue.

    Of a signal in complex white noise, whose real and imaginary part have the standard deviation
    σ, it is the diagonal of the inverse Fisher information

    .. math:: F_{pq} = \frac{1}{\sigma^2} \, \mathrm{Re} \sum_j
              \overline{\frac{\partial s_j}{\partial p}} \frac{\partial s_j}{\partial q}

    (Kay, Fundamentals of Statistical Signal Processing, 1993, section 15.7). Differentiable.

    Parameters
    ----------
    jacobian
        (samples, coils, maps, voxels) complex slopes of the signal, see `Simulator.jacobian`. All
        maps are taken as unknown.
    deviation
        Standard deviation σ of the real and of the imaginary part of the noise of a sample.

    Returns
    -------
    Tensor
        (maps, voxels) variances, in the squared units of the maps.

    Raises
    ------
    SimulationError
        If the signal does not tell the maps of a voxel apart, or is no jacobian.
    """
    if not isinstance(jacobian, Tensor) or jacobian.ndim != 4:
        raise SimulationError(
            f"jacobian must be a tensor (samples, coils, maps, voxels), not {shown(jacobian)}; "
            "Simulator.jacobian makes it"
        )
    check_number("deviation", deviation, SimulationError)
    if deviation <= 0:
        raise SimulationError(f"deviation is {deviation}, but must be above 0")
    fisher = torch.einsum("scpv,scqv->vpq", jacobian.conj(), jacobian).real / deviation**2
    # Of the order of one, whatever the units
    size = fisher.diagonal(dim1=1, dim2=2).sqrt()
    scaled = fisher / (size[:, :, None] * size[:, None, :])
    known = scaled.detach()
    # Where there is no slope at all, it holds no numbers
    if not bool(known.isfinite().all()) or bool((torch.linalg.eigvalsh(known) < _SINGULAR).any()):
        raise SimulationError(
            "the signal does not depend on all maps, or not independently: no estimate can tell "
            "them apart; differentiate by fewer, or sample more"
        )
    inverse = torch.linalg.inv(scaled)
    return (inverse.diagonal(dim1=1, dim2=2) / size.square()).T
