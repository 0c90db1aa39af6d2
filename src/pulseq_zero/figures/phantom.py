"""The phantom's maps and regions."""

from __future__ import annotations

import torch
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Patch
from torch import Tensor

from pulseq_zero.figures.style import BLACK, LINES, image_row, panels, show_image, style
from pulseq_zero.phantom import MAP_UNITS, Phantom

# CSF's T2 is twenty times that of the brain: only a logarithmic scale shows both.
_LOGARITHMIC = {"T2"}
_FROM_ZERO = {"PD", "T1", "T2dash", "D"}
# Voxels with less than this share of the largest PD look empty.
_VISIBLE = 0.05
_SCALE_BAR = 50  # mm
_TITLES = {"T2dash": "T2'"}


def phantom_figure(phantom: Phantom) -> Figure:
    """Draw all maps of a phantom with their units, and its regions.

    Maps combine the pools of each voxel (`Phantom.maps`).

    Parameters
    ----------
    phantom
        What to draw; of a volume the middle slice.

    Returns
    -------
    Figure
        A panel for each map and one for the regions.
    """
    if phantom.is_volume:
        phantom = phantom.slice(phantom.matrix[2] // 2)
    maps = phantom.maps()
    visible = maps["PD"] > _VISIBLE * maps["PD"].max()
    with style():
        figure, (axes,) = panels(image_row(len(maps) + 1))
        for ax, (name, values) in zip(axes, maps.items(), strict=False):
            _draw_map(ax, name, torch.where(visible, values, torch.nan))
        _draw_regions(axes[-1], phantom, visible)
    return figure


def _draw_map(ax: Axes, name: str, values: Tensor) -> None:
    finite = values[values.isfinite()]
    lowest, high = finite.aminmax() if len(finite) else (torch.zeros(()), torch.ones(()))
    low = 0.0 if name in _FROM_ZERO else float(lowest)
    norm = (LogNorm if name in _LOGARITHMIC else Normalize)(low, float(high))
    unit = MAP_UNITS[name].replace("1e-3", "10⁻³")
    title = f"{_TITLES.get(name, name)} [{unit}]"
    shown = show_image(ax, values, title, colour_bar=False, cmap="viridis", norm=norm)
    ax.figure.colorbar(shown, cax=ax.inset_axes((1.02, 0.05, 0.05, 0.9)), format="%g")


def _draw_regions(ax: Axes, phantom: Phantom, visible: Tensor) -> None:
    """Draw the voxels that lie mostly in a region; the brain, which holds others, as a line."""
    _fill(ax, visible, "0.9")
    regions = [name for name in phantom.masks if name != "brain"]
    handles = []
    for name, colour in zip(regions, LINES, strict=False):
        _fill(ax, phantom.masks[name] > 0.5, colour)
        handles.append(Patch(color=colour, label=name))
    brain = phantom.masks.get("brain")
    if brain is not None and (brain > 0.5).any():
        ax.contour(brain.T.numpy(), levels=[0.5], colors=BLACK, linewidths=0.7)
        handles.append(Patch(facecolor="none", edgecolor=BLACK, label="brain"))
    ax.set_title("regions")
    ax.legend(handles=handles, loc="center left", bbox_to_anchor=(0.98, 0.5), handlelength=1.0)
    per_voxel = 1e3 * phantom.fov[0] / phantom.matrix[0]
    ax.plot([1, 1 + _SCALE_BAR / per_voxel], [1, 1], color=BLACK, linewidth=2)
    ax.text(1, 2.5, f"{_SCALE_BAR} mm", fontsize=7)


def _fill(ax: Axes, inside: Tensor, colour: str) -> AxesImage:
    filled = torch.where(inside, 1.0, torch.nan)
    return show_image(ax, filled, colour_bar=False, cmap=ListedColormap([colour]))
