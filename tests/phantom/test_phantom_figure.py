import torch

from pulseq_zero.figures.phantom import phantom_figure
from pulseq_zero.figures.style import save_figure


def test_all_maps_are_drawn_with_units_and_colour_bars(brain, tmp_path):
    figure = phantom_figure(brain)
    titles = [ax.get_title() for ax in figure.axes if ax.get_title()]
    assert titles == [
        "PD [relative]",
        "T1 [s]",
        "T2 [s]",
        "T2' [s]",
        "D [10⁻³ mm²/s]",
        "B0 [Hz]",
        "B1 [relative]",
        "regions",
    ]
    shown = [ax.images[0] for ax in figure.axes[:7]]
    assert all(image.colorbar is not None for image in shown)
    legend = {text.get_text() for text in figure.axes[7].get_legend().get_texts()}
    assert legend == {"csf", "gm", "wm", "brain"}
    save_figure(figure, tmp_path / "phantom.png", tmp_path / "phantom.pdf")
    assert (tmp_path / "phantom.png").stat().st_size > 10_000


def test_images_have_the_front_of_the_head_up(brain):
    image = phantom_figure(brain).axes[1].images[0]
    expected = brain.maps()["T1"]
    assert image.origin == "lower"
    drawn = torch.from_numpy(image.get_array().filled(0)).T
    visible = brain.maps()["PD"] > 0.1
    torch.testing.assert_close(drawn[visible], expected[visible])


def test_other_phantoms_can_be_drawn(tiny, tmp_path):
    save_figure(phantom_figure(tiny), tmp_path / "tiny.png")
    save_figure(phantom_figure(tiny.scaled(B0=0)), tmp_path / "constant.png")
