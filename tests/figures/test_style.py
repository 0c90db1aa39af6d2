"""Figures are as wide as they are printed, and legible there."""

import re
import zlib
from contextlib import suppress

import matplotlib.pyplot as plt
import pytest
from matplotlib.image import imread

from pulseq_zero.figures.style import (
    chart_row,
    column,
    image_row,
    panels,
    save_figure,
    save_in_widths,
    style,
)


def drawn():
    with style():
        figure, ((axes, *_), _) = panels(chart_row(1.0, 2.0, 1.0), image_row(5))
        axes.plot([0, 1], [0, 1], label="line")
        axes.set(xlabel="Time [ms]")
    return figure


def cm_wide(pdf):
    box = re.search(rb"/MediaBox \[([^\]]+)\]", pdf.read_bytes())
    return float(box[1].split()[2]) / 72 * 2.54


def test_figures_are_as_wide_as_a_page_and_a_column(tmp_path):
    files = [tmp_path / name for name in ("a.png", "a.pdf", "a.column.pdf")]
    save_in_widths(drawn, *files)
    assert cm_wide(files[1]) == pytest.approx(17.8, abs=0.01)
    assert cm_wide(files[2]) == pytest.approx(8.5, abs=0.01)
    # Pixels enough for print
    assert imread(files[0]).shape[1] >= 17.8 / 2.54 * 200


def test_letters_of_a_pdf_are_letters(tmp_path):
    """Fonts are embedded as TrueType, which other programs can edit, not as drawings (Type 3)."""
    save_figure(drawn(), tmp_path / "a.pdf")
    content = (tmp_path / "a.pdf").read_bytes()
    streams = re.findall(rb"stream\r?\n(.*?)\r?\nendstream", content, re.S)
    for stream in streams:
        with suppress(zlib.error):  # images are compressed otherwise
            content += zlib.decompress(stream)
    assert b"/Type3" not in content
    assert b"/CIDFontType2" in content


def test_a_column_holds_the_panels_of_a_page_in_more_lines():
    page = drawn()
    with column():
        narrow = drawn()
    assert len(page.axes) == len(narrow.axes) == 8
    assert len(page.subfigs) == 3
    assert len(narrow.subfigs) == 6
    assert narrow.get_figheight() > page.get_figheight()
    plt.close("all")
    # It ends where it is left
    assert drawn().get_figwidth() == page.get_figwidth()


def test_matplotlib_is_left_as_it_was(tmp_path):
    before = dict(plt.rcParams)
    save_figure(drawn(), tmp_path / "a.png")
    assert dict(plt.rcParams) == before
