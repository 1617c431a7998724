"""Files whose bytes were changed at random: a result, or the one error that says so."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from onnx import helper, load, save
from safetensors.torch import save_file

from export.anatomy.examine import examine
from tests.export.anatomy.graphs import convolutional, refusal, weights, write_graph
from tests.export.damage import VARIED, damage, damaged, field
from tests.export.given_files import ENDLESS, keras_like, with_functions

FILTERS = {
    "conv.weight": weights(2, 3, 3, 3),
    "second.weight": weights(2, 2, 3, 3, seed=1),
    "head.weight": weights(3, 32, seed=2),
}
STATE = {"conv.weight": torch.ones(2, 3, 3, 3), "head.weight": torch.ones(3, 32)}


def h5(file: Path) -> None:
    """As Keras 2 lays it out; one array compressed."""
    h5py = pytest.importorskip("h5py")
    with h5py.File(file, "w") as opened:
        group = opened.create_group("model_weights")
        group.attrs["layer_names"] = [b"conv", b"dense"]
        group["conv/conv/kernel:0"] = np.ones((3, 3, 3, 2), np.float32)
        group.create_dataset("dense/dense/kernel:0", data=weights(32, 3), compression="gzip")


def keras(file: Path) -> None:
    """As Keras 3 zips it."""
    import zipfile

    inner = file.with_suffix(".inner")
    h5(inner)
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("config.json", '{"config": {"layers": []}}')
        archive.write(inner, "model.weights.h5")


def onnx(file: Path) -> None:
    """Convolutions and a head behind a Flatten."""
    convolutional(file, FILTERS, metadata={"classes": "a,b,c"})


WRITERS: dict[str, Callable[[Path], None]] = {
    "onnx": onnx,
    "safetensors": lambda file: save_file(STATE, file),
    "pt": lambda file: torch.save(STATE, file),
    "h5": h5,
    "keras": keras,
}


def smallest_onnx(file: Path) -> None:
    """One product: a few hundred bytes."""
    node = helper.make_node("MatMul", ["input", "w"], ["logits"])
    write_graph(file, [node], {"w": weights(4, 3)}, shape=(1, 4))


def smallest_h5(file: Path) -> None:
    """One array of a dozen numbers, and what HDF5 puts around it."""
    h5py = pytest.importorskip("h5py")
    with h5py.File(file, "w") as opened:
        opened["kernel"] = weights(4, 3)


SMALLEST: dict[str, Callable[[Path], None]] = {"onnx": smallest_onnx, "h5": smallest_h5}


@pytest.fixture(scope="module", params=WRITERS)
def whole(request, tmp_path_factory) -> tuple[str, bytes]:
    """The ending and the bytes of a small file of each kind, which can be examined."""
    file = tmp_path_factory.mktemp("whole") / f"whole.{request.param}"
    WRITERS[request.param](file)
    assert examine(file).contents.parameters > 0
    return request.param, file.read_bytes()


@settings(
    VARIED,
    max_examples=100,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(changes=damage())
def test_a_damaged_file_is_examined_or_refused(whole, tmp_path, changes):
    """No other exception than the one that is shown as a sentence, with the file's name."""
    ending, content = whole
    file = tmp_path / f"damaged.{ending}"
    file.write_bytes(damaged(content, changes))
    assert file.name in (refusal(file) or file.name)


@pytest.mark.parametrize("ending", ["onnx", "h5"])
def test_a_file_cut_off_anywhere_is_refused(tmp_path, ending):
    """Each length below the whole, with the file's name; test_state_file.py has state dicts."""
    file = tmp_path / f"cut.{ending}"
    SMALLEST[ending](file)
    assert examine(file).contents.parameters > 0
    for length in reversed(range(file.stat().st_size)):
        os.truncate(file, length)
        assert file.name in refusal(file), length


def test_behind_its_graph_a_file_names_no_opset(tmp_path):
    """Cut off there it is whole for protobuf, and a sentence says what is missing."""
    file = tmp_path / "a.onnx"
    smallest_onnx(file)
    model = load(file)
    del model.opset_import[:]
    file.write_bytes(model.SerializeToString())
    assert "doesn't say which opset" in refusal(file)


def test_weights_cut_off_are_refused(tmp_path):
    """The data file is named, which is too short for what stands in it."""
    file = convolutional(tmp_path / "a.onnx", FILTERS)
    save(load(file), file, save_as_external_data=True, location="a.data", size_threshold=0)
    data = tmp_path / "a.data"
    assert examine(file).contents.parameters > 0
    whole = data.stat().st_size
    for length in (whole - 1, whole // 2, 1, 0):
        os.truncate(data, length)
        assert "a.data is too short for tensor" in refusal(file)


def test_subgraphs_without_end_are_refused(tmp_path):
    """Branches within branches: nobody goes down to the last of them."""
    graph = b""
    for _ in range(5000):
        graph = field(1, field(5, field(6, graph)))  # node, attribute and its graph
    file = tmp_path / "a.onnx"
    file.write_bytes(b"\x08\x08" + field(7, graph) + field(8, b"\x10\x0d"))
    assert "truncated, damaged or no .onnx file" in refusal(file)


@pytest.mark.parametrize(("calls", "message"), ENDLESS, ids=[one[1] for one in ENDLESS])
def test_functions_without_end_are_refused(tmp_path, calls, message):
    """Before they are put where they are called, which would end with no memory or no stack."""
    file = with_functions(keras_like(tmp_path / "a.onnx"), calls)
    assert re.search(message, refusal(file))


def test_functions_that_end_are_put_in_place(tmp_path):
    """A function that calls another twice counts its layers as if it were written out."""
    file = with_functions(keras_like(tmp_path / "a.onnx"), {"A": ["B", "B"], "B": ["Relu"]})
    assert (
        examine(file).contents.parameters
        == examine(keras_like(tmp_path / "b.onnx")).contents.parameters
    )
