"""Any experiment: images, losses and parameters."""

from __future__ import annotations

from matplotlib.figure import Figure

from pulseq_zero.experiments.kinds import kind
from pulseq_zero.experiments.settings import Experiment
from pulseq_zero.figures.history import history_figure


class Kind(kind.Kind):
    """Any experiment."""

    def draw(self, experiment: Experiment, results: kind.RunResults) -> Figure:
        """Draw images, losses and parameters."""
        return history_figure(
            results.start,
            results.optimized,
            results.history,
            dict(results.parameters),
            {name: settings.unit for name, settings in experiment.parameters.items()},
            results.accuracy,
        )
