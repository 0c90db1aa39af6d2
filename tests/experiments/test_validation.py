"""Results are validated: like with like, and a loss that improves in the optimizer only fails."""

import pytest
import torch

from pulseq_zero.errors import ValidationError
from pulseq_zero.experiments.summary import validation_table
from pulseq_zero.experiments.validation import (
    changes_in_regions,
    judge_results,
    judged_phantom,
    require_passed,
    validation_row,
)
from pulseq_zero.optimization.loss import loss_of
from support.acquisitions import showing

IMAGE = torch.linspace(0.5, 1, 36).reshape(6, 6) + 0j
KINDS = ("optimizer", "tight", "imported", "pdg", "pdg_played", "bloch", "bloch_full")
JUDGE = {"scatter": 0.003, "spins": 512.0, "seconds": 1.0}


def darkness(parameters, image):
    """Add a term of the parameters to the mean signal."""
    return {"signal": image.abs().mean(), "power": parameters["flip"].square()}


def rows(optimized_under_the_judge: float, imported: float = 0.5, full: float = 0.5):
    """Validate an optimizer that is told that its image is half as bright as before."""
    stages = {
        "start": dict.fromkeys(KINDS, IMAGE),
        "optimized": {
            **dict.fromkeys(KINDS, 0.5 * IMAGE),
            "bloch": optimized_under_the_judge * IMAGE,
            "imported": imported * IMAGE,
            "bloch_full": full * IMAGE,
        },
    }
    flip = {"flip": torch.tensor(0.1)}
    return judge_results(
        [
            validation_row(
                "toy",
                stage,
                images,
                stages["start"],
                {
                    kind: loss_of(darkness, flip, showing(images[kind]))
                    for kind in ("optimizer", "tight", "bloch", "bloch_full")
                },
                {"bloch": JUDGE, "bloch_full": JUDGE},
            )
            for stage, images in stages.items()
        ]
    )


def test_an_honest_result_passes():
    honest = rows(0.51)
    assert [row["passed"] for row in honest] == [True, True]
    assert honest[1]["loss_optimizer"] == pytest.approx(0.75 * 0.5 + 0.01)
    assert honest[1]["pdg_vs_bloch_nrmse"] == pytest.approx(0.01 / 0.51, rel=1e-4)
    assert honest[1]["pdg_vs_bloch_full_nrmse"] == 0.0
    assert honest[0]["bloch_spins"] == 512.0
    assert [row["optimized_vs_start_full_nrmse"] for row in honest] == [0.0, pytest.approx(0.5)]
    assert honest[0]["optimized_vs_start_full_ssim"] == pytest.approx(1.0)
    assert honest[1]["loss_bloch_full"] == pytest.approx(0.75 * 0.5 + 0.01)
    require_passed(honest)


def test_a_cheating_result_fails():
    """The optimizer believes in a darker image; under the judge it is brighter."""
    cheating = rows(1.1)
    assert [row["passed"] for row in cheating] == [True, False]
    assert validation_table(cheating)["Result"].tolist() == ["passed", "FAILED"]
    with pytest.raises(ValidationError, match=r"the loss of toy \(optimized\) improves in the opt"):
        require_passed(cheating)


@pytest.mark.parametrize(("under_the_judge", "passes"), [(0.05, True), (0.3, False)])
def test_a_brain_that_full_physics_changes_otherwise_fails(small_brain, under_the_judge, passes):
    brain = small_brain.mask("brain")
    start = torch.ones(*brain.shape, dtype=torch.complex64)
    images = {kind: torch.where(brain, 1 + change, 1.0) * start
              for kind, change in (("tight", 0.04), ("bloch_full", under_the_judge))}  # fmt: skip
    found = changes_in_regions(images, dict.fromkeys(images, start), small_brain)
    assert found["optimized_vs_start_nrmse_brain"] == pytest.approx(0.04, rel=1e-4)
    assert found["optimized_vs_start_full_nrmse_brain"] == pytest.approx(under_the_judge, rel=1e-4)
    honest = [row | found for row in rows(0.51)]
    assert judge_results(honest)[1]["passed"] == passes


def test_a_file_that_makes_another_image_fails():
    other = rows(0.51, imported=0.49)
    assert [row["passed"] for row in other] == [True, False]
    with pytest.raises(
        ValidationError, match=r"the exported files of toy \(optimized\) make other"
    ):
        require_passed(other)


def test_full_physics_decides():
    """What holds with pulses at once may be worse with pulses that take their time."""
    worse = rows(0.51, full=1.1)
    assert [row["passed"] for row in worse] == [True, False]
    other = rows(0.51, full=0.6)
    assert other[1]["loss_bloch_full"] < other[0]["loss_bloch_full"]
    assert [row["passed"] for row in other] == [True, False]
    with pytest.raises(ValidationError, match=r"of toy \(optimized\) changes the image otherwise"):
        require_passed(other)
    assert [row["passed"] for row in rows(0.51, full=0.52)] == [True, True]


def test_a_wider_slice_holds_more_of_the_same(small_brain):
    own = judged_phantom(small_brain)
    wide = judged_phantom(small_brain, 2 * small_brain.slice_thickness)
    torch.testing.assert_close(wide.PD, 2 * own.PD)
    torch.testing.assert_close(wide.nyquist[2], own.nyquist[2] / 2)
    assert not own.D.any()
    # Boxes answer beyond the Nyquist frequency
    beyond = 1.5 * own.nyquist[None]
    assert float(own.dephasing_func(beyond, own.nyquist).abs()) > 1e-3
