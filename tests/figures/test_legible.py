"""Nothing that is written in a figure is cut off, or lies on something else, page or column."""

import contextlib

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.text import Text

from pulseq_zero.experiments.kinds.flip_angles import flip_angles_figure
from pulseq_zero.experiments.kinds.inversion_time import inversion_time_figure
from pulseq_zero.figures.schematic import LoopPictures, schematic_figure
from pulseq_zero.figures.style import column

IMAGE = torch.rand(16, 16, generator=torch.Generator().manual_seed(0)).to(torch.complex64)
ITERATIONS = np.arange(251)


def inversion_time():
    history = pd.DataFrame({"iteration": ITERATIONS, "loss": -0.1, "csf": 0.1, "brain": -0.4})
    variants = ["as it is", "all tissues, CSF in the loss"]
    return inversion_time_figure(
        IMAGE, IMAGE, history, torch.linspace(1, 3.1, 251), 250,
        pd.DataFrame({"TI": [1.0, 4.5], "loss": [0.4, -0.3]}),
        pd.DataFrame({"variant": variants, "TI": [3.105, 3.068], "uncertainty": [0.03, 0.02]}),
        2.98, 1e-4, dark="csf", bright="brain",
    )  # fmt: skip


def flip_angles(image=0.05, sar=1.0):
    terms = {"image": image * ITERATIONS / 250, "sar": sar * (1 - ITERATIONS / 500)}
    history = pd.DataFrame({"iteration": ITERATIONS, "loss": np.linspace(1, 0.5, 251), **terms})
    quality = pd.DataFrame({"iteration": [0, 250], "nrmse": [0.0, 0.04], "ssim": [1.0, 0.98]})
    angles = torch.linspace(3, 2, 251)[:, None, None].expand(-1, 2, 17)
    return flip_angles_figure(IMAGE, IMAGE, history, angles, quality, 250, 1e-4)


def schematic():
    line = "    n_shot, n_echo = flip_angles.shape[0] - 1, flip_angles.shape[1] - 1"
    maps = dict.fromkeys(("PD", "T1", "T2", "T2'", "D", "B0"), IMAGE.real * 0.35)
    code = "\n".join([line] * 60)
    return schematic_figure(LoopPictures(code, code, maps, IMAGE[0], IMAGE, IMAGE.real, "TI"))


def written(figure):
    """Bounding boxes of all that is written in a figure."""
    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()
    texts = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text()]
    ticks = {
        id(label)
        for axes in figure.axes
        for label in [*axes.get_xticklabels(), *axes.get_yticklabels()]
    }
    yield from (text.get_window_extent() for text in texts if id(text) not in ticks)
    # Of ticks, those within the limits
    axis = [each for axes in figure.axes if axes.axison for each in (axes.xaxis, axes.yaxis)]
    yield from filter(None, (each.get_tightbbox(renderer) for each in axis))


@pytest.mark.parametrize("width", [contextlib.nullcontext, column], ids=["page", "column"])
@pytest.mark.parametrize("draw", [inversion_time, flip_angles, schematic])
def test_nothing_is_cut_off(draw, width):
    with width():
        figure = draw()
    whole = figure.bbox.padded(1)
    for box in written(figure):
        assert whole.x0 <= box.x0
        assert box.x1 <= whole.x1
        assert whole.y0 <= box.y0
        assert box.y1 <= whole.y1


@pytest.mark.parametrize("draw", [inversion_time, flip_angles])
def test_titles_of_images_do_not_lie_on_colour_bars(draw):
    with column():
        figure = draw()
    figure.canvas.draw()
    bars = [axes.get_window_extent() for axes in figure.findobj(Axes) if hasattr(axes, "_colorbar")]
    assert bars
    for axes in figure.axes:
        title = axes.title.get_window_extent()
        assert not any(title.overlaps(bar) for bar in bars), axes.get_title()


def test_code_stays_in_its_box():
    figure = schematic()
    figure.set_dpi(250)
    figure.canvas.draw()
    (code, _) = (axes for axes in figure.axes if axes.get_xlabel() in ("Sequence code", "Loss"))
    assert code.texts[0].get_window_extent().x1 <= code.get_window_extent().x1


@pytest.mark.parametrize(
    ("image", "sar", "small"), [(0.05, 1.0, ["image"]), (1.0, 0.03, ["SAR"]), (0.5, 0.4, ["SAR"])]
)
def test_a_small_term_of_the_loss_has_a_scale_of_its_own(image, sar, small):
    """Beside one that is many times as large, it would be a line along the axis."""
    figure = flip_angles(image, sar)
    by_title = {axes.get_title(): axes for axes in figure.axes}
    shown = {
        title: sorted(
            line.get_label()
            for line in by_title[title].lines
            if not line.get_label().startswith("_")
        )
        for title in ("Loss, relative to the start", "Small terms, on the same scale")
    }
    assert shown["Small terms, on the same scale"] == small
    assert shown["Loss, relative to the start"] == sorted({"total", "image", "SAR"} - set(small))
