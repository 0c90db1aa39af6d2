"""What the sequences of an experiment acquire, and what losses are made of."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from pulseq_zero.experiments.experiment import SequenceSetup, sequence_setups
from pulseq_zero.experiments.layout import RunFiles
from pulseq_zero.experiments.modules import modules_at
from pulseq_zero.experiments.reconstruction import (
    Images,
    make_reconstruction,
    one_or_all,
    shown_images,
)
from pulseq_zero.experiments.settings import Experiment, ImageSettings
from pulseq_zero.experiments.stages import START, of_sequence
from pulseq_zero.files.store import load_tensors
from pulseq_zero.imaging.acquisition import Acquisition, ReconstructionFunction
from pulseq_zero.imaging.model import ImagingModel
from pulseq_zero.optimization.losses import LossContext
from pulseq_zero.optimization.steppers import Values
from pulseq_zero.phantom import Phantom

Acquisitions = Mapping[str, Acquisition]


class SequenceModels:
    """The imaging models of an experiment's sequences on a phantom.

    Parameters
    ----------
    models
        By the names of the sequences; the only one has the empty name.
    setups
        What each takes.
    """

    def __init__(
        self, models: Mapping[str, ImagingModel], setups: Mapping[str, SequenceSetup]
    ) -> None:
        self._models, self._setups = models, setups

    @classmethod
    def of(
        cls,
        setups: Mapping[str, SequenceSetup],
        phantom: Phantom,
        image: ImageSettings,
        accuracy: float,
        simulator: Mapping[str, Any],
    ) -> SequenceModels:
        """Make the models; arguments as of `ImagingModel`."""
        models = {
            name: ImagingModel(
                setup.function,
                phantom,
                arguments=setup.arguments,
                matrix=image.matrix,
                fov=image.fov,
                accuracy=accuracy,
                pulses=setup.pulses,
                simulation=simulator,
            )
            for name, setup in setups.items()
        }
        return cls(models, setups)

    def on(self, phantom: Phantom) -> SequenceModels:
        """Return the models of the same sequences on another phantom."""
        models = {name: model.on(phantom) for name, model in self._models.items()}
        return SequenceModels(models, self._setups)

    def __call__(
        self, values: Values, reconstruction: ReconstructionFunction | None
    ) -> dict[str, Acquisition]:
        """Acquire each sequence at some values of the parameters."""
        return {
            name: model(self._setups[name].given(values)).reconstructed_by(reconstruction)
            for name, model in self._models.items()
        }


class StageSetup:
    """An experiment at a stage: modules in their state, and what they are part of.

    Parameters
    ----------
    experiment
        The experiment.
    stage
        Its stage, of whichever sequence.
    optimization
        File with the parameters of all iterations; not needed for the start.
    """

    def __init__(self, experiment: Experiment, stage: str, optimization: Path | None) -> None:
        self.modules = modules_at(experiment.modules, stage, optimization)
        self.reconstruction = make_reconstruction(experiment.reconstruction, self.modules)

    def context(self, phantom: Phantom, start_images: Images, start: Values) -> LossContext:
        """Return what the loss at this stage is made of."""
        return LossContext(phantom, one_or_all(start_images), start, self.modules)


def setups_of(experiment: Experiment) -> dict[str, SequenceSetup]:
    """Load the sequences of an experiment, see `sequence_setups`."""
    return sequence_setups(experiment.sequences_by_name, experiment.parameters)


def stored_images(
    experiment: Experiment, files: RunFiles, stage: str, accuracy: str
) -> dict[str, torch.Tensor]:
    """Load the images of a stage by the names of its sequences."""
    return {
        name: load_tensors(files.image(of_sequence(stage, name), accuracy))[0]["image"]
        for name in experiment.sequences_by_name
    }


def start_images(
    experiment: Experiment, models: SequenceModels, start: Values
) -> dict[str, torch.Tensor]:
    """Simulate the images at the start values."""
    with torch.no_grad():
        return shown_images(models(start, StageSetup(experiment, START, None).reconstruction))
