"""A bar of water along y, to measure slice profiles in: writes ``bar.nii.gz`` beside this file.

256 voxels of 0.125 mm along y, each 8 mm wide and 5 mm thick.
"""

from pathlib import Path

import nibabel
import numpy as np

VOXELS = 256
SIZE_MM = (8.0, 0.125, 5.0)


def main() -> None:
    """Write the map of proton density."""
    affine = np.diag([*SIZE_MM, 1.0])
    affine[1, 3] = -(VOXELS // 2) * SIZE_MM[1]
    density = np.ones((1, VOXELS, 1), dtype=np.float32)
    nibabel.save(nibabel.Nifti1Image(density, affine), Path(__file__).with_name("bar.nii.gz"))


if __name__ == "__main__":
    main()
