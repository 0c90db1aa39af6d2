import pytest
import torch

from pulseq_zero.errors import OptimizationError
from pulseq_zero.files.store import save_tensors
from pulseq_zero.optimization.checkpoints import fingerprint, load_checkpoint, save_checkpoint

STATE = {
    "tensors": [torch.arange(3.0), torch.tensor(2.5, dtype=torch.float64)],
    "numbers": {"a": 0.1 + 0.2, 5: None, "nan": [float("nan")]},
    "random": torch.get_rng_state(),
}


def test_a_state_comes_back_bit_for_bit(tmp_path):
    save_checkpoint(tmp_path / "c.safetensors", STATE, "x")
    back = load_checkpoint(tmp_path / "c.safetensors", "x")
    assert torch.equal(back["tensors"][0], STATE["tensors"][0])
    assert back["tensors"][1].dtype == torch.float64
    assert back["numbers"]["a"] == 0.1 + 0.2
    assert back["numbers"][5] is None
    assert back["numbers"]["nan"][0] != back["numbers"]["nan"][0]
    assert torch.equal(back["random"], STATE["random"])


def test_a_checkpoint_of_other_settings_is_refused(tmp_path):
    path = tmp_path / "c.safetensors"
    save_checkpoint(path, STATE, "x")
    with pytest.raises(OptimizationError, match=r"other settings; delete .*c\.safetensors"):
        load_checkpoint(path, "y")


@pytest.mark.parametrize("length", [0, 5, 100, -1])
def test_a_truncated_checkpoint_is_refused(tmp_path, length):
    path = tmp_path / "c.safetensors"
    save_checkpoint(path, STATE, "x")
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(OptimizationError, match=r"delete .*c\.safetensors"):
        load_checkpoint(path, "x")


@pytest.mark.parametrize("place", [0.1, 0.3, 0.5, 0.7, 0.9, 0.999])
def test_a_checkpoint_with_a_changed_bit_is_refused(tmp_path, place):
    path = tmp_path / "c.safetensors"
    save_checkpoint(path, STATE, "x")
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 1
    path.write_bytes(content)
    with pytest.raises(OptimizationError, match=r"damaged one; delete .*c\.safetensors"):
        load_checkpoint(path, "x")


@pytest.mark.parametrize("metadata", [{}, {"settings": "x", "structure": {}}, [], "x"])
def test_a_foreign_file_is_refused(tmp_path, metadata):
    path = tmp_path / "c.safetensors"
    save_tensors(path, {"a": torch.ones(3)}, metadata)
    with pytest.raises(OptimizationError, match=r"is no checkpoint.*delete .*c\.safetensors"):
        load_checkpoint(path, "x")


def test_fingerprints_tell_settings_apart():
    assert fingerprint({"a": 1, "b": [1.0]}) == fingerprint({"b": [1.0], "a": 1})
    assert fingerprint({"a": 1}) != fingerprint({"a": 2})
