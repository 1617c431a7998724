from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from export import optimize, rewrite
from export.anatomy import count
from export.build import CannotShrink
from export.fp16_weights import fp16_weights
from export.optimize import data_files, read_metadata, stored_bytes

HEAD = 640


@pytest.fixture
def halved(foreign, tmp_path):
    """The foreign network, which is not ours in any name, with its weights in fp16."""
    source = foreign(tmp_path)
    facts = fp16_weights(source, tmp_path / "half.onnx")
    return source, tmp_path / "half.onnx", facts


def stored(file) -> dict[str, int]:
    """Name -> type of each initialiser."""
    return {tensor.name: tensor.data_type for tensor in onnx.load(file).graph.initializer}


def test_matrices_are_fp16_and_vectors_are_not(halved):
    """What is over 1 kB and no vector is halved: a variance of 1e-9 would be 0 in fp16."""
    types = stored(halved[1])
    assert types["dense/kernel_fp16"] == types["head/kernel_fp16"] == TensorProto.FLOAT16
    assert types["variances"] == types["dense/bias"] == types["kernel:0"] == TensorProto.FLOAT
    assert halved[2] == {"halved": 2, "kept_fp32": []}


def test_the_size_is_what_was_predicted(halved):
    """Two bytes are saved for each weight in fp16, but for the names of two casts."""
    source, file, _ = halved
    predicted = stored_bytes(source) - 2 * (512 * 64 + HEAD)
    assert stored_bytes(file) == pytest.approx(predicted, abs=600)


def test_answers(halved, photos, answers, openvino_answers, error):
    """ONNX Runtime and OpenVINO compute in fp32: only the weights' rounding is seen."""
    source, file, _ = halved
    expected = answers(source, photos)
    assert 1e-7 < error(answers(file, photos), expected) < 5e-4
    assert error(openvino_answers(file, photos), answers(file, photos)) < 1e-5


def test_counting(halved):
    """The same parameters and multiply-accumulates, half the bytes, still computed in fp32."""
    before, after = count(halved[0]), count(halved[1])
    assert (after.parameters, after.macs) == (before.parameters, before.macs)
    for was, now in zip(before.layers[1:], after.layers[1:], strict=True):
        assert now.precision == "fp32"
        assert now.weight_bytes < 0.6 * was.weight_bytes


@pytest.mark.parametrize("value", [1e5, 1e-7, np.nan])
def test_what_fp16_cannot_hold_stays(foreign, tmp_path, value):
    """Too large, too small or no number: the tensor stays fp32, unclipped, and a note says so."""
    head = np.full((10, 64), value, np.float32)
    source = foreign(tmp_path, **{"head/kernel": head})
    facts = fp16_weights(source, tmp_path / "half.onnx")
    assert facts["kept_fp32"] == ["head/kernel"]
    assert facts["note"] == "head/kernel: stored in fp32, because fp16 can't hold the values"
    tensors = {t.name: t for t in onnx.load(tmp_path / "half.onnx").graph.initializer}
    np.testing.assert_array_equal(numpy_helper.to_array(tensors["head/kernel"]), head)


@pytest.mark.parametrize(("opset", "listed"), [(9, True), (9, False), (13, False)])
def test_old_files(foreign, tmp_path, photos, answers, error, opset, listed):
    """From opset 9 on, weights among the inputs or not: a cast's output is no input any more."""
    source = foreign(tmp_path, opset=opset, listed=listed)
    fp16_weights(source, tmp_path / "half.onnx")
    assert [value.name for value in onnx.load(tmp_path / "half.onnx").graph.input] == ["photo"]
    assert error(answers(tmp_path / "half.onnx", photos), answers(source, photos)) < 5e-4


def test_large_networks(foreign, tmp_path, photos, answers, error, monkeypatch):
    """Data files are read, and over protobuf's limit one is written beside the file."""
    source = foreign(tmp_path, outside=True)
    for module in (optimize, rewrite):
        monkeypatch.setattr(module, "LARGEST_SINGLE_FILE", 1000)
    (tmp_path / "out").mkdir()
    file = tmp_path / "out" / "half.onnx"
    fp16_weights(source, file)
    assert data_files(file) == [tmp_path / "out" / "half.onnx.data"]
    assert error(answers(file, photos), answers(source, photos)) < 5e-4


def test_constants_are_weights(tmp_path):
    """Weights in Constant nodes, as TensorFlow's exporters write them, are halved as well."""
    matrix = np.random.default_rng(0).standard_normal((64, 64)).astype(np.float32)
    nodes = [
        helper.make_node("Constant", [], ["w"], value=numpy_helper.from_array(matrix)),
        helper.make_node("MatMul", ["x", "w"], ["y"]),
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "constants",
        [value("x", TensorProto.FLOAT, ["N", 64])],
        [value("y", TensorProto.FLOAT, ["N", 64])],
    )
    onnx.save(helper.make_model(graph, ir_version=8), tmp_path / "a.onnx")
    assert fp16_weights(tmp_path / "a.onnx", tmp_path / "b.onnx")["halved"] == 1


def test_nothing_to_halve(foreign, tmp_path):
    """A file that would stay as it is is refused."""
    source = foreign(tmp_path)
    fp16_weights(source, tmp_path / "half.onnx")
    with pytest.raises(CannotShrink, match="no weights that could be stored in fp16"):
        fp16_weights(tmp_path / "half.onnx", tmp_path / "quarter.onnx")


def test_metadata_survives(halved):
    """What the source says of itself stands in the new file."""
    assert read_metadata(halved[1])["classes"] == "ten"
