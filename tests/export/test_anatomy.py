from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from export import anatomy
from export.anatomy import count, initializer_array, structure
from export.models.vgg import FixedAveragePool2d, vgg19, vgg19_gap
from export.optimize import optimize
from export.quantize import prepare, quantize_dynamic, quantize_static
from export.to_onnx import write_onnx
from export.to_pt2 import count_module

SIZE = (8, 8)


class Small(nn.Module):
    """All that is counted in its own way, in little space."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.depthwise = nn.Conv2d(8, 8, 3, stride=2, padding=1, groups=8, bias=False)
        self.pool = FixedAveragePool2d((4, 4), (3, 3))
        self.head = nn.Linear(72, 10)
        with torch.no_grad():
            self.head.weight[3] = 0  # as unstructured pruning would leave it

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        maps = torch.relu(self.depthwise(torch.relu(self.norm(self.first(images)))))
        logits: torch.Tensor = self.head(self.pool(maps).flatten(1))
        return logits


CONV_MACS = 8 * 64 * 27 + 8 * 16 * 9
POOL_MACS = 8 * (3 * 4 * 4 + 3 * 3 * 4)
HEAD_MACS = 720
PARAMETERS = 8 * 27 + 8 + 8 * 9 + 720 + 10  # the norm is folded into the convolution's bias


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, Path]:
    """The small network as every recipe leaves it."""
    folder = tmp_path_factory.mktemp("small")
    names = ("fp32", "extended", "all", "prepared", "dynamic", "static")
    found = {name: folder / f"{name}.onnx" for name in names}
    write_onnx(Small().eval(), found["fp32"], SIZE, {})
    optimize(found["fp32"], found["extended"], "extended")
    optimize(found["fp32"], found["all"], "all")
    prepare(found["fp32"], found["prepared"])
    quantize_dynamic(found["prepared"], found["dynamic"])
    images = np.random.default_rng(0).standard_normal((4, 3, *SIZE), dtype=np.float32)
    quantize_static(found["prepared"], found["static"], [images])
    return found


@pytest.mark.parametrize("name", ["fp32", "extended", "prepared", "dynamic", "static"])
def test_same_network_in_every_file(files, name):
    """Parameters and MACs are those of the network, however a file spells it.

    Scales, zero points, shapes and the constants of the pooling are no parameters.
    """
    counted = count(files[name])
    assert counted.parameters == PARAMETERS
    assert counted.macs == CONV_MACS + POOL_MACS + HEAD_MACS


def test_macs_by_operator(files):
    """Each operator type has its own sum; the products that pool stand under theirs."""
    assert count(files["fp32"]).macs_by_op == {
        "Conv": CONV_MACS,
        "MatMul": POOL_MACS,
        "Gemm": HEAD_MACS,
    }
    assert count(files["dynamic"]).macs_by_op["MatMulInteger"] == HEAD_MACS
    assert count(files["extended"]).macs_by_op["FusedConv"] == CONV_MACS


def test_same_macs_as_the_module(files):
    """The graph's count and torch's agree."""
    assert count(files["fp32"]).macs == count_module(Small().eval(), SIZE)[2]


def test_operators(files):
    """Nodes are counted by operator."""
    operators = count(files["fp32"]).op_types
    assert (operators["Conv"], operators["MatMul"], operators["Gemm"]) == (2, 2, 1)


def test_zeros(files):
    """A pruned row is found in every file; INT8 adds what rounding made zero."""
    zeros = {name: count(files[name]).zeros for name in ("fp32", "dynamic", "static")}
    assert zeros["fp32"] == 72
    assert 72 <= zeros["dynamic"] < 85
    assert 72 <= zeros["static"] < 90


def test_layout_of_the_host_cannot_be_counted(files):
    """ONNX Runtime's own layout pads channels: refused by name, so that the parent is counted."""
    with pytest.raises(ValueError, match=r"com\.microsoft\.nchwc\.\w+ can't be counted"):
        count(files["all"])


def save(file: Path, nodes: list[Any], tensors: dict[str, NDArray[Any]], shape: list[Any]) -> Path:
    """A model of ``nodes`` from ``input`` of ``shape`` to ``output``."""
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "hand-made",
            [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info("output", TensorProto.FLOAT, None)],
            [numpy_helper.from_array(array, name) for name, array in tensors.items()],
        ),
        opset_imports=[helper.make_opsetid("", 20), helper.make_opsetid("com.microsoft", 1)],
    )
    onnx.save(model, file)
    return file


def test_zero_points(tmp_path):
    """A stored value stands for 0 where it equals the zero point of its own channel."""
    weights = np.array([[5, 0, 5], [7, 7, 5]], np.uint8)
    tensors: dict[str, Any] = {
        "w": weights,
        "scale": np.ones(2, np.float32),
        "zero": np.array([5, 7], np.uint8),
    }
    nodes = [
        helper.make_node("DequantizeLinear", ["w", "scale", "zero"], ["d"], axis=0),
        helper.make_node("Gemm", ["input", "d"], ["output"], transB=1),
    ]
    counted = count(save(tmp_path / "a.onnx", nodes, tensors, ["batch", 3]))
    assert (counted.parameters, counted.zeros, counted.macs) == (6, 4, 6)


def test_fused_integer_product(tmp_path):
    """ONNX Runtime's DynamicQuantizeMatMul counts, with the bias that it took in."""
    tensors: dict[str, Any] = {
        "w": np.array([[0, 1], [2, 3], [4, 0]], np.int8),
        "scale": np.ones(2, np.float32),
        "b": np.ones(2, np.float32),
    }
    inputs = ["input", "w", "scale", "", "b"]
    node = helper.make_node("DynamicQuantizeMatMul", inputs, ["output"], domain="com.microsoft")
    file = save(tmp_path / "a.onnx", [node], tensors, [1, 3])
    model = onnx.load(file)
    model.graph.output[0].CopyFrom(
        helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, 2])
    )
    onnx.save(model, file)
    counted = count(file)
    assert (counted.parameters, counted.zeros, counted.macs) == (8, 2, 6)


def test_batch_norm_and_bias(tmp_path):
    """A norm's scale and shift and a MatMul's bias count; statistics and scalars don't."""
    four = np.ones(4, np.float32)
    tensors: dict[str, Any] = dict.fromkeys(("gamma", "beta", "mean", "variance", "bias"), four)
    tensors |= {"w": np.ones((4, 4), np.float32), "one": np.float32(1)}
    nodes = [
        helper.make_node(
            "BatchNormalization", ["input", "gamma", "beta", "mean", "variance"], ["n"]
        ),
        helper.make_node("MatMul", ["n", "w"], ["m"]),
        helper.make_node("Add", ["m", "bias"], ["a"]),
        helper.make_node("Add", ["a", "one"], ["output"]),
    ]
    counted = count(save(tmp_path / "a.onnx", nodes, tensors, ["batch", 4]))
    assert (counted.parameters, counted.macs) == (4 + 4 + 16 + 4, 16)


def test_shared_weights_count_once(tmp_path):
    """Weights that two layers share are stored once, and work twice."""
    nodes = [
        helper.make_node("MatMul", ["input", "w"], ["m"]),
        helper.make_node("MatMul", ["m", "w"], ["output"]),
    ]
    file = save(tmp_path / "a.onnx", nodes, {"w": np.ones((4, 4), np.float32)}, ["batch", 4])
    counted = count(file)
    assert (counted.parameters, counted.macs) == (16, 32)


@pytest.mark.parametrize("operator", ["ConvTranspose", "LSTM", "Einsum"])
def test_unknown_work_is_refused(tmp_path, operator):
    """An operator whose work is not known is named: a count without it would be wrong."""
    node = helper.make_node(operator, ["input", "w"], ["output"])
    file = save(tmp_path / "a.onnx", [node], {"w": np.ones((1, 1), np.float32)}, [1, 1])
    with pytest.raises(ValueError, match=f"{operator} can't be counted"):
        count(file)


def test_zeros_are_counted_in_pieces(tmp_path, monkeypatch):
    """Large weights are looked through piece by piece, to the last one."""
    monkeypatch.setattr(anatomy, "_CHUNK", 3)
    weights = np.arange(8, dtype=np.float32).reshape(4, 2) % 7
    node = helper.make_node("MatMul", ["input", "w"], ["output"])
    assert count(save(tmp_path / "a.onnx", [node], {"w": weights}, [1, 4])).zeros == 2


def test_data_files_are_mapped(tmp_path, files):
    """Weights in a data file are mapped, not read, and equal those inside a file."""
    tensors = onnx.load(files["prepared"], load_external_data=False).graph.initializer
    outside = [t for t in tensors if t.data_location == TensorProto.EXTERNAL]
    inside = {t.name: t for t in onnx.load(files["fp32"]).graph.initializer}
    assert outside
    for tensor in outside:
        array = initializer_array(tensor, files["prepared"])
        assert isinstance(array, np.memmap)
        assert np.array_equal(array, numpy_helper.to_array(inside[tensor.name]))


def test_truncated_data_file(tmp_path, files):
    """A data file that ends too early is an error, not zeros."""
    model = files["prepared"]
    (tmp_path / "model.onnx").write_bytes(model.read_bytes())
    data = model.with_name("prepared.onnx.data")
    (tmp_path / data.name).write_bytes(data.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"mmap|size"):
        count(tmp_path / "model.onnx")


@pytest.fixture(scope="module")
def baseline(tmp_path_factory) -> Path:
    """VGG-19 at full size."""
    file: Path = tmp_path_factory.mktemp("vgg19") / "model.onnx"
    write_onnx(vgg19().eval(), file, (224, 224), {})
    return file


@pytest.mark.slow
def test_baseline(baseline):
    """VGG-19's file at 224 has its 143,667,240 parameters and 19.51 + 0.124 G MACs."""
    counted = count(baseline)
    assert counted.parameters == 143_667_240
    assert counted.macs_by_op == {"Conv": 19_508_428_800, "Gemm": 123_633_664}
    connected = [layer for layer in counted.layers if layer.name.startswith("Gemm")]
    assert len(counted.layers) == 16 + 3
    assert sum(layer.macs for layer in connected) == 123_633_664
    assert sum(layer.weight_bytes for layer in connected) == 4 * (123_633_664 + 4096 + 4096 + 1000)


def test_convolutions_scale_with_the_input(tmp_path):
    """At 160 pixels the convolutions do (160/224)^2 of the work, with the same parameters."""
    counted = {}
    for side in (160, 224):
        network = vgg19_gap(10, (side, side))
        write_onnx(network.eval(), tmp_path / f"{side}.onnx", (side, side), {})
        counted[side] = count(tmp_path / f"{side}.onnx")
    assert counted[160].parameters == counted[224].parameters
    ratio = counted[160].macs_by_op["Conv"] / counted[224].macs_by_op["Conv"]
    assert ratio == pytest.approx((160 / 224) ** 2, abs=1e-12)


def test_work_of_each_layer(files):
    """In order: MACs, stored weights with their bias, and what is read and written, in bytes."""
    layers = count(files["fp32"]).layers
    named = [layer for layer in layers if layer.name.startswith(("Conv", "Gemm"))]
    assert [(x.macs, x.weight_bytes, x.activation_bytes) for x in named] == [
        (8 * 64 * 27, 4 * (8 * 27 + 8), 4 * (3 * 64 + 8 * 64)),
        (8 * 16 * 9, 4 * 8 * 9, 4 * (8 * 64 + 8 * 16)),
        (720, 4 * (720 + 10), 4 * (72 + 10)),
    ]


@pytest.mark.parametrize("name", ["fp32", "extended", "prepared", "dynamic", "static"])
def test_layers_add_up(files, name):
    """What the layers compute is what the file computes."""
    counted = count(files[name])
    assert sum(layer.macs for layer in counted.layers) == counted.macs


@pytest.mark.parametrize(
    ("name", "precisions"),
    [("fp32", "fp32 fp32 fp32"), ("dynamic", "fp32 fp32 int8"), ("static", "int8 int8 int8")],
)
def test_precision_of_each_layer(files, name, precisions):
    """INT8 is a layer both of whose operands are: of ``dynamic`` only the fully connected one."""
    known = (CONV_MACS - 8 * 16 * 9, 8 * 16 * 9, HEAD_MACS)
    found = {x.macs: x.precision for x in count(files[name]).layers if x.macs in known}
    assert [found[macs] for macs in known] == precisions.split()


def test_int8_layers_move_a_quarter_of_the_bytes(files):
    """What is quantised right behind a layer is counted as it is then passed on."""
    first = {name: count(files[name]).layers[0] for name in ("fp32", "static")}
    assert first["fp32"].activation_bytes == 4 * first["static"].activation_bytes
    bias = 4 * 8
    assert first["fp32"].weight_bytes - bias == 4 * (first["static"].weight_bytes - bias)


def test_what_should_be_fused_and_removed(tmp_path, files):
    """BatchNorm and Relu behind a convolution, quantised between or not, and all quantisers."""
    assert structure(files["fp32"]).quantizers == ()
    assert len(structure(files["fp32"]).behind_convolutions) == 2
    four = np.ones(4, np.float32)
    tensors: dict[str, Any] = dict.fromkeys(("gamma", "beta", "mean", "variance"), four)
    tensors |= {"w": np.ones((4, 4, 1, 1), np.float32), "s": np.float32(1), "z": np.uint8(0)}
    norm = ["c", "gamma", "beta", "mean", "variance"]
    nodes = [
        helper.make_node("Relu", ["input"], ["a"], name="first"),
        helper.make_node("Conv", ["a", "w"], ["c"], name="conv"),
        helper.make_node("BatchNormalization", norm, ["n"], name="norm"),
        helper.make_node("QuantizeLinear", ["n", "s", "z"], ["q"], name="q"),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"], name="d"),
        helper.make_node("Relu", ["d"], ["output"]),
    ]
    found = structure(save(tmp_path / "a.onnx", nodes, tensors, [1, 4, 2, 2]))
    assert found.behind_convolutions == ("norm", "output")
    assert found.quantizers == ("q", "d")
