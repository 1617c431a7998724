from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from export import int4_weights as module
from export import nbits, optimize, rewrite
from export.anatomy import CannotCount, count
from export.build import CannotShrink
from export.int4_weights import BLOCK, int4_weights, rounded
from export.optimize import data_files, read_metadata, stored_bytes
from export.quantize import prepare


@pytest.fixture
def made(foreign, tmp_path):
    """The foreign network, prepared, and with weights of 4 bits."""
    source, target = tmp_path / "prepared.onnx", tmp_path / "int4.onnx"
    prepare(foreign(tmp_path), source)
    int4_weights(source, target)
    return source, target


def nodes_of(file) -> list[onnx.NodeProto]:
    """Its MatMulNBits nodes."""
    return [node for node in onnx.load(file).graph.node if node.op_type == nbits.OPERATOR]


def test_both_layers_and_no_convolution(made, operators):
    """A MatMul and a turned Gemm become MatMulNBits; the convolution is as it was."""
    found = operators(made[1])
    assert (found.count(nbits.OPERATOR), found.count("Conv"), found.count("Gemm")) == (2, 1, 0)
    assert read_metadata(made[1])["classes"] == "ten"


def test_answers(made, photos, answers):
    """Close to those of fp32, and not the same."""
    expected = answers(made[0], photos)
    spread = expected - expected.mean(axis=0)
    error = np.linalg.norm(answers(made[1], photos) - expected) / np.linalg.norm(spread)
    assert 0.01 < error < 0.4


def unpacked(node: onnx.NodeProto, file) -> np.ndarray:
    """The weights (inputs, outputs) for which the four bits stand, by the documentation."""
    tensors = {t.name: numpy_helper.to_array(t) for t in onnx.load(file).graph.initializer}
    packed, scales, *points = (tensors[name] for name in node.input[1:])
    inputs, outputs = nbits.shape(node)
    values = np.stack([packed & 15, packed >> 4], axis=-1).reshape(outputs, -1, BLOCK)
    zero = np.full((outputs, values.shape[1]), 8)
    if points:
        pairs = points[0].reshape(outputs, -1)
        zero = np.stack([pairs & 15, pairs >> 4], axis=-1).reshape(outputs, -1)
        zero = zero[:, : values.shape[1]]
    exact = (values.astype(float) - zero[..., None]) * scales.reshape(outputs, -1, 1)
    weights: np.ndarray = exact.reshape(outputs, -1)[:, :inputs].T
    return weights


def test_products_are_fp32(made, photos, answers, tmp_path):
    """The operator answers as the unpacked matrix does in fp32: its inputs are not rounded."""
    source, target = made
    model = onnx.load(source)
    for node, before in zip(nodes_of(target), layers_of(model), strict=True):
        weights = unpacked(node, target).astype(np.float32)
        (tensor,) = (t for t in model.graph.initializer if t.name == before.input[1])
        turned = any(a.name == "transB" and a.i for a in before.attribute)
        tensor.CopyFrom(
            numpy_helper.from_array(
                np.ascontiguousarray(weights.T if turned else weights), tensor.name
            )
        )
    onnx.save(model, tmp_path / "unpacked.onnx")
    np.testing.assert_allclose(
        answers(target, photos), answers(tmp_path / "unpacked.onnx", photos), rtol=1e-4, atol=1e-4
    )


def layers_of(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    """The fully connected layers of a prepared network."""
    return [node for node in model.graph.node if node.op_type in ("MatMul", "Gemm")]


def test_counting(made):
    """Parameters and work are the network's; a weight takes half a byte, and its block's rest."""
    before, after = count(made[0]), count(made[1])
    assert (after.parameters, after.macs) == (before.parameters, before.macs)
    assert after.macs_by_op[nbits.OPERATOR] == 512 * 64 + 640
    large = next(layer for layer in after.layers if layer.macs == 512 * 64)
    blocks = 64 * 512 // BLOCK
    points = blocks // 2 if not module.SYMMETRIC else 0
    assert large.weight_bytes == 512 * 64 // 2 + 4 * blocks + points
    assert large.precision == "fp32"


def test_zeros_are_those_of_the_unpacked_weights(made):
    """A weight is 0 where its four bits are the zero point of its block."""
    convolution = count(made[0]).zeros
    (dense, head) = (unpacked(node, made[1]) for node in nodes_of(made[1]))
    expected = np.count_nonzero(dense == 0) + np.count_nonzero(head == 0)
    assert count(made[1]).zeros - convolution == expected > 0


def test_the_size_is_what_was_predicted(made):
    """Four bits for each weight, and a scale and half a byte for every 32 of them."""
    source, target = made
    weights = 512 * 64 + 640
    points = 0 if module.SYMMETRIC else 0.5
    predicted = stored_bytes(source) - weights * (4 - 0.5 - (4 + points) / BLOCK) - 4 * 300
    assert stored_bytes(target) == pytest.approx(predicted, abs=1500)


def test_what_fills_a_block_is_no_weight(foreign, tmp_path, photos):
    """Layers whose inputs are no multiple of the block keep their count."""
    node = onnx.helper.make_node(
        nbits.OPERATOR, ["x", "w", "s"], ["y"], K=40, N=3, bits=4, block_size=32
    )
    packed = np.full((3, 2, 16), 0x88, np.uint8)
    assert nbits.zeros(node, packed, None) == 120
    packed[:, 0] = 0x98
    assert nbits.zeros(node, packed, None) == 3 * (16 + 8)


def test_other_widths_are_not_counted(made, tmp_path):
    """Weights of two bits would be taken for others: they are refused by name."""
    model = onnx.load(made[1])
    for node in model.graph.node:
        for attribute in node.attribute:
            if node.op_type == nbits.OPERATOR and attribute.name == "bits":
                attribute.i = 2
    onnx.save(model, tmp_path / "two.onnx")
    with pytest.raises(CannotCount, match=r"com\.microsoft\.MatMulNBits can't be counted"):
        count(tmp_path / "two.onnx")


def test_int8_inputs_are_told(made):
    """With accuracy_level 4 the products are INT8; ours have none and are fp32."""
    (node, *_) = nodes_of(made[1])
    assert nbits.precision(node) == "fp32"
    node.attribute.append(onnx.helper.make_attribute("accuracy_level", 4))
    assert nbits.precision(node) == "int8"


def test_slices_change_nothing(monkeypatch):
    """Outputs are independent: rounding some at a time gives the same bytes."""
    matrix = np.random.default_rng(0).standard_normal((70, 9)).astype(np.float32)
    whole = rounded(matrix)
    monkeypatch.setattr(module, "_SLICE_BYTES", 4 * 70 * 2)
    parts = rounded(matrix)
    for name, array in whole.items():
        np.testing.assert_array_equal(array, parts[name])


def test_without_a_fully_connected_layer(tmp_path):
    """A network in which nothing would be rounded is refused."""
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Relu", ["x"], ["y"])],
        "none",
        [value("x", 1, ["N", 3])],
        [value("y", 1, ["N", 3])],
    )
    onnx.save(onnx.helper.make_model(graph, ir_version=8), tmp_path / "a.onnx")
    with pytest.raises(CannotShrink, match="no fully connected layer to round"):
        int4_weights(tmp_path / "a.onnx", tmp_path / "b.onnx")


def test_values_that_only_a_branch_reads(foreign, branching, tmp_path, photos, answers):
    """What stands in no node's inputs, but in a body's, is no unused weight."""
    source, target = tmp_path / "prepared.onnx", tmp_path / "int4.onnx"
    prepare(branching(foreign(tmp_path)), source)
    int4_weights(source, target)
    expected = answers(source, photos)
    spread = expected - expected.mean(axis=0)
    assert np.linalg.norm(answers(target, photos) - expected) < 0.4 * np.linalg.norm(spread)


def test_large_networks(made, tmp_path, photos, answers, monkeypatch):
    """Over protobuf's limit the packed weights go to a data file, with the same answers."""
    for changed in (optimize, rewrite):
        monkeypatch.setattr(changed, "LARGEST_SINGLE_FILE", 1000)
    (tmp_path / "out").mkdir()
    file = tmp_path / "out" / "int4.onnx"
    int4_weights(made[0], file)
    assert data_files(file) == [tmp_path / "out" / "int4.onnx.data"]
    np.testing.assert_array_equal(answers(file, photos), answers(made[1], photos))
