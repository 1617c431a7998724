"""What state dicts hold: safetensors, pickles, and what else a training put into them."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from export.anatomy.contents import UnreadableFile
from export.anatomy.examine import examine
from export.anatomy.state_file import read_pickle, read_safetensors


class Net(nn.Module):
    """Two convolutions, BatchNorm, and a head behind a Flatten of 4x4 maps."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 8, 3)
        self.norm = nn.BatchNorm2d(8)
        self.last = nn.Conv2d(8, 16, 3)
        self.head = nn.Linear(16 * 16, 10)


PARAMETERS = 3 * 8 * 9 + 8 + 16 + 8 * 16 * 9 + 16 + 2560 + 10


@pytest.mark.parametrize("old", [False, True])
def test_a_pickle_and_a_safetensors_file_hold_the_same(tmp_path, old):
    """Layers, parameters and values agree, in the format before PyTorch 1.6, too."""
    state = Net().state_dict()
    torch.save(state, tmp_path / "a.pt", _use_new_zipfile_serialization=not old)
    save_file(state, tmp_path / "a.safetensors")
    pickled, safe = read_pickle(tmp_path / "a.pt"), read_safetensors(tmp_path / "a.safetensors")
    assert pickled.parameters == safe.parameters == PARAMETERS
    assert {x.name for x in safe.layers} == {"conv", "norm", "last", "head"}
    assert set(pickled.layers) == set(safe.layers)
    values = {x.name: x.values() for x in pickled.tensors}
    for tensor in safe.tensors:
        np.testing.assert_array_equal(tensor.values(), values[tensor.name])


def test_no_graph_no_macs(tmp_path):
    """A state dict has no multiply-accumulates, and says why."""
    save_file(Net().state_dict(), tmp_path / "a.safetensors")
    found = read_safetensors(tmp_path / "a.safetensors")
    assert found.macs is None and "no graph" in found.no_macs


def test_bfloat16_is_read(tmp_path):
    """numpy has no such type by itself; both formats give the same values."""
    state = {"a.weight": torch.randn(8, 8).bfloat16()}
    torch.save(state, tmp_path / "a.pth")
    save_file(state, tmp_path / "a.safetensors")
    for found in (read_pickle(tmp_path / "a.pth"), read_safetensors(tmp_path / "a.safetensors")):
        (tensor,) = found.tensors
        values = tensor.values().astype(np.float32)
        np.testing.assert_array_equal(values, state["a.weight"].float().numpy())
        assert found.stored_bytes == 128


def test_a_pickle_that_would_run_code_is_refused(tmp_path):
    """It names what would have run, and what to save instead; nothing runs."""

    class Evil:
        def __reduce__(self):
            return (print, ("it ran",))

    torch.save({"a": Evil()}, tmp_path / "evil.pt")
    with pytest.raises(UnreadableFile, match="would run code"):
        read_pickle(tmp_path / "evil.pt")
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(UnreadableFile, match="refused|not a checkpoint"):
        read_pickle(tmp_path / "plain.pt")


@pytest.mark.parametrize("name", ["a.safetensors", "a.pt"])
def test_a_file_cut_off_anywhere_is_an_error(tmp_path, name):
    """Each length below the whole is refused with the file's name."""
    whole = tmp_path / name
    state = {"a": torch.ones(2)}
    if name.endswith(".pt"):
        torch.save(state, whole)
    else:
        save_file(state, whole)
    content = whole.read_bytes()
    for length in range(len(content)):
        cut = tmp_path / f"cut{whole.suffix}"
        cut.write_bytes(content[:length])
        with pytest.raises(UnreadableFile, match="cut"):
            examine(cut)


def test_tied_weights_count_once(tmp_path):
    """Two names for one storage take its bytes once, and are no copies."""
    weight = torch.randn(64, 64)
    torch.save({"a.weight": weight, "b.weight": weight}, tmp_path / "tied.pt")
    found = examine(tmp_path / "tied.pt")
    assert found.contents.stored_bytes == 4 * 64 * 64
    assert "duplicates" not in {x.code for x in found.findings}


def test_what_is_not_a_state_dict_is_refused(tmp_path):
    """A file without a tensor in it."""
    torch.save({"epoch": 3}, tmp_path / "a.pt")
    with pytest.raises(UnreadableFile, match="holds no tensors"):
        read_pickle(tmp_path / "a.pt")
