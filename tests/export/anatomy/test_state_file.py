"""What state dicts hold: safetensors, pickles, and what else a training put into them."""

from __future__ import annotations

import pickle
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from export.anatomy import __main__ as command
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


def test_a_tensor_larger_than_its_bytes_is_refused(tmp_path):
    """Steps of 0 make a terabyte of four bytes; what overlaps itself otherwise does so, too."""
    one = torch.ones(64)
    for name, tensor in {
        "huge": torch.as_strided(one, (10**6, 10**6), (0, 0)),
        "again": torch.as_strided(one, (64, 2), (1, 0)),
    }.items():
        torch.save({"fc.weight": tensor}, tmp_path / f"{name}.pt")
        with pytest.raises(UnreadableFile, match=r"'fc.weight' of shape .* 256 are stored of it"):
            read_pickle(tmp_path / f"{name}.pt")
    torch.save({"fc.weight": one.view(8, 8).t()[2:]}, tmp_path / "turned.pt")
    assert read_pickle(tmp_path / "turned.pt").parameters == 48


def test_an_archive_that_is_larger_inside_is_refused(tmp_path):
    """Compressed, as a bomb is, or with one member's bytes under many names."""
    whole = tmp_path / "whole.pt"
    torch.save({"a": torch.zeros(1000)}, whole)
    with zipfile.ZipFile(whole) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(tmp_path / "bomb.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
        archive.writestr("whole/data/1", bytes(1 << 24))
    with pytest.raises(UnreadableFile, match=r"bomb\.pt is a compressed archive"):
        read_pickle(tmp_path / "bomb.pt")
    with zipfile.ZipFile(tmp_path / "shared.pt", "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
        largest = max(archive.infolist(), key=lambda one: one.file_size)
        archive.filelist += [largest] * 100
        archive.NameToInfo["again"] = largest
    with pytest.raises(UnreadableFile, match=r"shared\.pt has \d+ bytes and claims to hold"):
        read_pickle(tmp_path / "shared.pt")


def test_too_little_memory_is_told_as_that(tmp_path, monkeypatch, capsys):
    """Not as damage, by the command either; a truncated file is damaged."""
    file = tmp_path / "a.pt"
    torch.save({"a": torch.zeros(1000)}, file)

    def fails(*given, **more):
        raise RuntimeError(
            "unable to mmap 4000 bytes from file <a.pt>: Cannot allocate memory (12)"
        )

    with monkeypatch.context() as patch:
        patch.setattr(torch, "load", fails)
        with pytest.raises(MemoryError, match=r"a\.pt needs more memory"):
            read_pickle(file)
        patch.setattr(command, "_limit", lambda asked: None)
        assert command.main([str(file)]) == 2
        assert "a.pt needs more than 4096 MiB to be read" in capsys.readouterr().err
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(UnreadableFile, match="truncated or damaged"):
        read_pickle(file)
