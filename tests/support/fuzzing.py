"""How many inputs are tried where any is possible.

A few, always the same; `pytest --hypothesis-profile many tests/bad_input` tries 25 times as many,
and others each time.
"""

from __future__ import annotations

from hypothesis import HealthCheck, settings

_MANY, _TIMES = "many", 25

_FEW = settings(
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


def register() -> None:
    """Make the profile known, before pytest looks which one it is to take."""
    settings.register_profile(_MANY, _FEW, derandomize=False, database=None, print_blob=True)


def tried(examples: int = 40) -> settings:
    """Let a test try a number of inputs."""
    if settings.get_current_profile_name() == _MANY:
        return settings(settings.get_profile(_MANY), max_examples=_TIMES * examples)
    return settings(_FEW, max_examples=examples)
