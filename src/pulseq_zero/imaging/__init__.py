"""From parameters to an image: the imaging model, k-space, reconstruction, and image quality.

Imports conversion, phantom, simulation, files and errors, and nothing of optimization or
experiments.
"""

from typing import TYPE_CHECKING

from pulseq_zero.importing.lazy import lazy_names

if TYPE_CHECKING:
    from pulseq_zero.imaging.acquisition import Acquisition as Acquisition
    from pulseq_zero.imaging.acquisition import Reconstruction as Reconstruction
    from pulseq_zero.imaging.acquisition import acquire as acquire
    from pulseq_zero.imaging.acquisition import image_of as image_of
    from pulseq_zero.imaging.density import sample_areas as sample_areas
    from pulseq_zero.imaging.metrics import nrmse as nrmse
    from pulseq_zero.imaging.metrics import ssim as ssim
    from pulseq_zero.imaging.model import ImagingModel as ImagingModel
    from pulseq_zero.imaging.model import SequenceFunction as SequenceFunction
    from pulseq_zero.imaging.noise import noise_deviation as noise_deviation
    from pulseq_zero.imaging.noise import noisy_acquisitions as noisy_acquisitions
    from pulseq_zero.imaging.point_spread import point_spread_width as point_spread_width
    from pulseq_zero.imaging.precision import crlb as crlb
    from pulseq_zero.imaging.reconstruction import adjoint as adjoint
    from pulseq_zero.imaging.reconstruction import noise_gain as noise_gain
    from pulseq_zero.imaging.reconstruction import reconstruct as reconstruct
    from pulseq_zero.imaging.reconstruction import reconstruct_coils as reconstruct_coils
    from pulseq_zero.imaging.samples import samples_of_image as samples_of_image
    from pulseq_zero.imaging.trajectory import resolved_matrix as resolved_matrix

__getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
