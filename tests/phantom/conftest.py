from dataclasses import fields

import pytest
import torch

from pulseq_zero.phantom import Phantom, TissuePool, build_phantom


@pytest.fixture(scope="session")
def brain() -> Phantom:
    """Return the default phantom."""
    return build_phantom({})


@pytest.fixture
def tiny() -> Phantom:
    """Return a phantom with all that may occur: two pools, channels, infinities, odd sizes."""
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> torch.Tensor:
        return torch.rand(*shape, generator=generator) + 0.1

    first = TissuePool.of(
        PD=random(18, 17),
        T1=random(18, 17),
        T2=random(18, 17),
        T2dash=torch.inf,
        D=random(18, 17),
        B0=100 * random(18, 17) - 50,
        B1=torch.complex(random(2, 18, 17), random(2, 18, 17)),
        coil_sensitivity=torch.complex(random(3, 18, 17), random(3, 18, 17)),
    )
    second = TissuePool.of(
        PD=random(18, 17) * (random(18, 17) > 0.6),
        T1=0.5,
        T2=0.05,
        T2dash=0.02,
        D=1.0,
        B0=first.B0,
        B1=first.B1,
        coil_sensitivity=first.coil_sensitivity,
    )
    return Phantom(
        pools={"first": first, "second": second},
        masks={"left": (torch.arange(18)[:, None] < 9).float().expand(18, 17)},
        fov=(0.18, 0.2),
        slice_thickness=0.004,
        origin={"made": "by hand"},
    )


@pytest.fixture
def assert_same_pools():
    """Return a function that compares all maps of two phantoms where there is tissue."""

    def compare(one: Phantom, other: Phantom, tolerance: float = 0.0) -> None:
        assert list(one.pools) == list(other.pools)
        for name, pool in one.pools.items():
            present = pool.PD > 0
            for each in fields(pool):
                expected, actual = getattr(pool, each.name), getattr(other.pools[name], each.name)
                assert expected.dtype == actual.dtype
                torch.testing.assert_close(
                    actual[..., present],
                    expected[..., present],
                    rtol=tolerance,
                    atol=tolerance,
                    msg=f"{each.name} of {name}",
                )

    return compare
