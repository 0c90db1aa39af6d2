import torch

from pulseq_zero.phantom.fields import PROTON_FREQUENCY, bright_centre, cavity_field

MODEL = {
    "susceptibility_difference": 9.4e-6,
    "cavities": [{"centre": [0.01, -0.02, 0.03], "radius": 0.01}],
}


def test_sphere_in_closed_form_along_and_across_the_field():
    x, y = torch.tensor([0.01, 0.05]).double(), torch.tensor([-0.02]).double()
    above = cavity_field(x[:1], y, 0.07, MODEL, 3.0)
    beside = cavity_field(x[1:], y, 0.03, MODEL, 3.0)
    frequency = PROTON_FREQUENCY * 3 * 9.4e-6 / 3
    assert abs(above.item() - 2 * frequency / 64) < 1e-6
    assert abs(beside.item() + frequency / 64) < 1e-6


def test_field_outside_of_the_sphere_has_no_sources():
    """The Laplacian of a magnetic field vanishes in a homogeneous medium."""
    step = 1e-4
    line = torch.linspace(-2, 2, 5).double() * step
    heights = torch.linspace(-2, 2, 5).double() * step + 0.06
    field = torch.stack(
        [cavity_field(0.03 + line, 0.01 + line, float(z), MODEL, 3.0) for z in heights], -1
    )
    second = [
        field.movedim(axis, 0)[[1, 2, 3]][:, 2, 2] @ torch.tensor([1.0, -2, 1]).double()
        for axis in range(3)
    ]
    assert abs(sum(second)) < 1e-4 * max(abs(each) for each in second)


def test_field_is_finite_inside_the_sphere():
    x = torch.linspace(0, 0.02, 21).double()
    assert cavity_field(x, x - 0.03, 0.03, MODEL, 3.0).isfinite().all()


def test_transmit_field_has_its_maximum_at_the_centre_and_falls_to_one_eth():
    x, y = torch.tensor([0.01, 0.11]).double(), torch.tensor([0.0, 0.2]).double()
    field = bright_centre(x, y, 1.2, (0.01, 0.0), (0.1, 0.2))
    expected = torch.tensor([[1.2, 1.2 / torch.e], [1.2 / torch.e, 1.2 / torch.e**2]]).double()
    torch.testing.assert_close(field, expected)
