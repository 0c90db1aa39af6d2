"""The accuracy of a simulation where nobody says otherwise."""

from typing import Final

DEFAULT_ACCURACY: Final = 1e-3
"""Relative error of the signal by the states that are left out."""
