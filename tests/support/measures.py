"""How far signals lie apart."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray


def distance(value: Any, reference: Any) -> float:
    """Root sum of squares of the difference."""
    return float(np.linalg.norm(array(value) - array(reference)))


def relative_error(value: Any, reference: Any) -> float:
    """Root sum of squares of the difference, relative to that of the reference."""
    return distance(value, reference) / float(np.linalg.norm(array(reference)))


def array(values: Any) -> NDArray[Any]:
    """Return a NumPy array of a tensor or array."""
    return values.detach().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)
