from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper
from torch import nn

from export import optimize as optimize_module
from export import quantize
from export.build import Int8
from export.images import Preprocess, crops, sample_photographs
from export.int4_weights import int4_weights
from export.low_rank import low_rank
from export.models.vgg import FixedAveragePool2d
from export.optimize import data_files, read_metadata, stored_bytes
from export.quantize import QuantizeError, prepare, quantize_dynamic, quantize_static
from export.to_onnx import write_onnx
from tests.export.given_files import keras_like

SIZE = (20, 20)
HEAD = 16 * 49 * 64 + 64 * 10  # weights of the fully connected layers


class Small(nn.Module):
    """Residual and depthwise convolutions, pooling by constants, two Linear layers."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU())
        self.depthwise = nn.Conv2d(16, 16, 3, padding=1, groups=16, bias=False)
        self.pointwise = nn.Conv2d(16, 16, 1, bias=False)
        self.norm = nn.BatchNorm2d(16)
        self.shrink = nn.Sequential(nn.ReLU(), nn.MaxPool2d(4), FixedAveragePool2d((5, 5), (7, 7)))
        self.head = nn.Sequential(nn.Linear(16 * 49, 64), nn.ReLU(), nn.Linear(64, 10))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        maps = self.stem(images)
        maps = maps + self.norm(self.pointwise(self.depthwise(maps)))
        logits: torch.Tensor = self.head(self.shrink(maps).flatten(1))
        return logits


@pytest.fixture(scope="module")
def images() -> NDArray[np.float32]:
    """Crops of real photographs."""
    return Preprocess(SIZE).batch(crops(sample_photographs(), 12, seed=0))


@pytest.fixture(scope="module")
def folder(tmp_path_factory, images) -> Path:
    """``fp32.onnx`` as exported and ``prepared.onnx``."""
    path: Path = tmp_path_factory.mktemp("quantize")
    network = Small()
    with torch.no_grad():  # norms that know their input
        network.train()(torch.from_numpy(images))
    write_onnx(network.eval(), path / "fp32.onnx", SIZE, {"classes": "ten"})
    prepare(path / "fp32.onnx", path / "prepared.onnx")
    return path


@pytest.fixture(scope="module")
def dynamic(folder: Path) -> Path:
    """The network under ``quantize_dynamic``."""
    quantize_dynamic(folder / "prepared.onnx", folder / "dynamic.onnx")
    return folder / "dynamic.onnx"


@pytest.fixture(scope="module")
def static(folder: Path, images) -> Path:
    """The network under ``quantize_static`` with its defaults."""
    quantize_static(folder / "prepared.onnx", folder / "static.onnx", [images])
    return folder / "static.onnx"


def graph(file: Path) -> onnx.GraphProto:
    """The graph with its weights."""
    return onnx.load(file).graph


def operators(file: Path) -> Counter[str]:
    """How often each operator stands in a file."""
    return Counter(node.op_type for node in graph(file).node)


def answers(file: Path, inputs: Any) -> NDArray[np.float32]:
    """What ONNX Runtime computes."""
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"input": inputs})[0])


def run_operators(file: Path, tmp_path: Path) -> Counter[str]:
    """What ONNX Runtime makes of a file when it loads it."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "loaded.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    return operators(tmp_path / "loaded.onnx")


def likeness(found: NDArray[Any], expected: NDArray[Any]) -> float:
    """Cosine after subtracting the mean output over the images."""
    a, b = ((values - expected.mean(axis=0)).ravel() for values in (found, expected))
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def test_prepare_changes_no_output(folder, images):
    """Preparation computes the same and keeps the metadata."""
    before, after = (answers(folder / f"{name}.onnx", images) for name in ("fp32", "prepared"))
    assert np.allclose(before, after, atol=1e-5)
    assert read_metadata(folder / "prepared.onnx")["classes"] == "ten"


def test_prepare_leaves_the_weights_beside(folder):
    """The weights go to one data file, so that later steps read the graph without them."""
    file = folder / "prepared.onnx"
    assert data_files(file) == [folder / "prepared.onnx.data"]
    assert file.stat().st_size < 0.1 * stored_bytes(file)


def test_prepare_infers_every_type(folder):
    """Each inner tensor has a type: the quantiser leaves out those of unknown type."""
    prepared = graph(folder / "prepared.onnx")
    typed = {value.name for value in (*prepared.value_info, *prepared.output)}
    assert typed == {name for node in prepared.node for name in node.output}
    assert typed.isdisjoint(tensor.name for tensor in prepared.initializer)


def test_dynamic_quantizes_the_head_only(dynamic):
    """Both Linear layers are in INT8; convolutions and constant pooling are as they were."""
    found = operators(dynamic)
    assert found["MatMulInteger"] == 2
    assert (found["Conv"], found["ConvInteger"], found["MatMul"]) == (3, 0, 2)


def test_dynamic_weights_are_a_quarter(folder, dynamic):
    """The fully connected weights shrink by 75 %; one scale an output is all that is added."""
    saved = stored_bytes(folder / "prepared.onnx") - stored_bytes(dynamic)
    assert saved == pytest.approx(0.75 * 4 * HEAD, rel=0.05)
    weights = [t for t in graph(dynamic).initializer if t.data_type == TensorProto.INT8]
    assert sum(numpy_helper.to_array(t).size for t in weights if len(t.dims) == 2) == HEAD


def test_dynamic_outputs(folder, dynamic, images):
    """The answers stay close to those of the fp32 file, for any batch."""
    expected = answers(folder / "fp32.onnx", images)
    assert likeness(answers(dynamic, images), expected) > 0.999
    assert answers(dynamic, images[:1]).shape == (1, 10)


def test_dynamic_is_fused_when_loaded(dynamic, tmp_path):
    """ONNX Runtime recognises the pattern: one operator a layer, not five."""
    found = run_operators(dynamic, tmp_path)
    assert found["DynamicQuantizeMatMul"] == 2
    assert found["MatMulInteger"] == 0


def test_dynamic_without_a_linear_layer(tmp_path):
    """A network in which nothing would be quantised is refused, not returned as it was."""
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten()).eval()
    write_onnx(network, tmp_path / "fp32.onnx", (4, 4), {})
    prepare(tmp_path / "fp32.onnx", tmp_path / "prepared.onnx")
    with pytest.raises(QuantizeError, match="no fully connected layer"):
        quantize_dynamic(tmp_path / "prepared.onnx", tmp_path / "dynamic.onnx")


def test_static_runs_in_int8(static, tmp_path):
    """From the first convolution to the head nothing is computed in fp32 but the pooling."""
    found = run_operators(static, tmp_path)
    assert (found["QLinearConv"], found["QLinearAdd"], found["QGemm"]) == (3, 1, 2)
    assert (found["Conv"], found["FusedConv"], found["Gemm"], found["Add"]) == (0, 0, 0, 0)
    assert found["MatMul"] == 2


def test_static_types(static):
    """Weights are signed, symmetric and per output; activations unsigned: what VNNI multiplies."""
    nodes = graph(static)
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in nodes.initializer}
    activations = [node for node in nodes.node if node.op_type == "QuantizeLinear"]
    assert {tensors[node.input[2]].dtype for node in activations} == {np.dtype(np.uint8)}
    weights = [
        node
        for node in nodes.node
        if node.op_type == "DequantizeLinear" and tensors.get(node.input[0], np.empty(0)).ndim > 1
    ]
    assert len(weights) == 5
    for node in weights:
        values, scale, zero = (tensors[name] for name in node.input)
        assert values.dtype == np.int8
        assert scale.shape == (values.shape[0],)
        assert not zero.any()


def test_static_weights_are_a_quarter(folder, static):
    """All weights are in INT8: the file is little more than a quarter of the fp32 one."""
    assert stored_bytes(static) < 0.4 * stored_bytes(folder / "fp32.onnx")


@pytest.mark.parametrize("method", quantize.METHODS)
def test_calibration_methods(folder, images, tmp_path, capsys, method):
    """Each method gives a file that answers like fp32, and says nothing meanwhile."""
    target = tmp_path / "static.onnx"
    quantize_static(folder / "prepared.onnx", target, [images[:5], images[5:]], Int8(method))
    assert likeness(answers(target, images), answers(folder / "fp32.onnx", images)) > 0.95
    assert capsys.readouterr() == ("", "")


def input_scale(file: Path) -> float:
    """The step between two quantised values of the input."""
    nodes = graph(file)
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in nodes.initializer}
    (scale,) = {tensors[n.input[1]].item() for n in nodes.node if n.input[0] == "input"}
    return float(scale)


@pytest.mark.parametrize("method", ["minmax", "percentile"])
@pytest.mark.parametrize("sizes", [(12,), (4, 4, 4), (1,) * 12, (5, 7)])
def test_every_image_counts(folder, images, tmp_path, method, sizes):
    """Ranges follow from all images, however they are batched.

    CalibMaxIntermediateOutputs would drop every batch that fills its buffer.
    """
    bright = images.copy()
    bright[2, 0, 0, :10] = 40.0
    bright[9, 0, 0, :10] = -24.0
    batches = np.split(bright, np.cumsum(sizes)[:-1])
    target = tmp_path / "static.onnx"
    quantize_static(folder / "prepared.onnx", target, iter(batches), Int8(method))
    assert input_scale(tmp_path / "static.onnx") == pytest.approx(64 / 255, rel=0.05)


def test_images_are_fed_one_by_one(folder, images, monkeypatch):
    """The histogram methods keep all activations of one call: each call gets one image."""
    fed = []

    class Calibrator:
        infer_session = onnxruntime.InferenceSession(folder / "fp32.onnx")

        def collect_data(self, reader: Any) -> None:
            batch = reader.get_next()["input"]
            fed.append((batch.shape, reader.get_next()))

    assert quantize._collect(Calibrator(), [images[:5], images[5:]]) == 12
    assert fed == [((1, 3, *SIZE), None)] * 12


def test_bad_calibration(folder, images, tmp_path):
    """An unknown method and no images at all are refused; nothing is left behind."""
    best: Any = "best"
    with pytest.raises(ValueError, match="'best' is unknown.*percentile"):
        quantize_static(folder / "prepared.onnx", tmp_path / "a.onnx", [images], Int8(best))
    for batches in ([], [images[:0]]):
        with pytest.raises(ValueError, match="at least one image"):
            quantize_static(folder / "prepared.onnx", tmp_path / "a.onnx", batches)
    assert not list(tmp_path.iterdir())


def made(folder: Path, images: Any, tmp_path: Path, int8: Int8) -> Path:
    """The network, quantised as ``int8`` says."""
    quantize_static(folder / "prepared.onnx", tmp_path / "static.onnx", [images], int8)
    return tmp_path / "static.onnx"


def weights_of(file: Path) -> dict[str, list[NDArray[Any]]]:
    """Layer -> its weights, their scales and their zero points, where they are quantised."""
    nodes = graph(file)
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in nodes.initializer}
    given = {n.output[0]: n for n in nodes.node if n.op_type == "DequantizeLinear"}
    return {
        n.name: [tensors[x] for x in given[n.input[1]].input]
        for n in nodes.node
        if n.op_type in ("Conv", "Gemm") and n.input[1] in given
    }


def zero_points(file: Path) -> NDArray[Any]:
    """Those of all activations."""
    nodes = graph(file)
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in nodes.initializer}
    return np.array([tensors[n.input[2]] for n in nodes.node if n.op_type == "QuantizeLinear"])


def test_per_tensor(folder, images, tmp_path):
    """Without per_channel every layer's weights have one scale."""
    scales = weights_of(made(folder, images, tmp_path, Int8(per_channel=False))).values()
    assert [scale.size for _, scale, _ in scales] == [1] * 5


def test_signed_activations(folder, images, tmp_path):
    """Signed activations are symmetric: every zero point is 0."""
    file = made(folder, images, tmp_path, Int8(activation_type="s8"))
    assert zero_points(file).dtype == np.int8
    assert not zero_points(file).any()
    assert likeness(answers(file, images), answers(folder / "fp32.onnx", images)) > 0.95


def test_reduced_range(folder, images, tmp_path):
    """With reduce_range no weight is beyond 64, and 64 is used."""
    rows = weights_of(made(folder, images, tmp_path, Int8(reduce_range=True))).values()
    assert {int(np.abs(weights.astype(int)).max()) for weights, _, _ in rows} == {64}


def test_unsigned_weights(folder, images, tmp_path):
    """Unsigned weights stand around 128 in every channel: ORT runs no other convolution."""
    file = made(folder, images, tmp_path, Int8(weight_type="u8"))
    rows = weights_of(file).values()
    assert {weights.dtype for weights, _, _ in rows} == {np.dtype(np.uint8)}
    assert {int(x) for _, _, zero in rows for x in zero} == {128}
    assert run_operators(file, tmp_path)["QLinearConv"] == 3
    assert likeness(answers(file, images), answers(folder / "fp32.onnx", images)) > 0.95


def test_signed_activations_want_signed_weights():
    """What ONNX Runtime can't quantise is refused in words, before anything is built."""
    with pytest.raises(ValueError, match="activation_type 'u8' or weight_type 's8'"):
        Int8(activation_type="s8", weight_type="u8")


def test_layers_stay_in_fp32(folder, images, tmp_path):
    """A layer to keep has its fp32 weights; the others are in INT8 as before."""
    names = [n.name for n in graph(folder / "prepared.onnx").node if n.op_type in ("Conv", "Gemm")]
    file = made(folder, images, tmp_path, Int8(keep_fp32=(names[1], names[4])))
    assert set(weights_of(file)) == set(names) - {names[1], names[4]}
    initial = {tensor.name: tensor for tensor in graph(file).initializer}
    for node in graph(file).node:
        if node.name in (names[1], names[4]):
            assert initial[node.input[1]].data_type == TensorProto.FLOAT


def test_a_layer_to_keep_must_be_there(folder, images, tmp_path):
    """A name that fits no node would change nothing in silence: the nearest ones are named."""
    with pytest.raises(ValueError, match="'Conv_1', .* near: Conv_3, Conv_2"):
        made(folder, images, tmp_path, Int8(keep_fp32=("Conv_1",)))


def test_percentile(folder, images, tmp_path):
    """A lower percentile cuts more outliers off: the input's step gets smaller."""
    steps = []
    for percentile in (99.999, 99.0, 90.0):
        file = made(folder, images, tmp_path, Int8("percentile", percentile))
        steps.append(input_scale(file))
    assert steps == sorted(set(steps), reverse=True)


@pytest.mark.parametrize("name", ["dynamic", "static"])
def test_metadata_survives(request, name):
    """What the source says of itself stands in the quantised file, which passes the checker."""
    file = request.getfixturevalue(name)
    assert read_metadata(file)["classes"] == "ten"
    onnx.checker.check_model(file)


def test_nothing_is_written_beside_the_source(folder, images, tmp_path):
    """ONNX Runtime writes beside its source; ours may be read-only and shared."""
    source = tmp_path / "source"
    source.mkdir()
    for file in ("prepared.onnx", "prepared.onnx.data"):
        (source / file).write_bytes((folder / file).read_bytes())
        (source / file).chmod(0o444)
    before = {file.name: file.stat().st_mtime_ns for file in source.iterdir()}
    target = tmp_path / "target"
    target.mkdir()
    quantize_dynamic(source / "prepared.onnx", target / "dynamic.onnx")
    quantize_static(source / "prepared.onnx", target / "static.onnx", [images[:2]])
    assert before == {file.name: file.stat().st_mtime_ns for file in source.iterdir()}
    assert sorted(file.name for file in target.iterdir()) == ["dynamic.onnx", "static.onnx"]


def test_large_networks_get_data_files(folder, images, tmp_path, monkeypatch):
    """Over protobuf's limit: two files, readable by others, whatever the current folder holds."""
    for module in (optimize_module, quantize):
        monkeypatch.setattr(module, "LARGEST_SINGLE_FILE", 1000)
    current = tmp_path / "current"
    current.mkdir()
    for name in ("dynamic", "static"):
        (current / f"{name}.onnx.data").touch()
    monkeypatch.chdir(current)
    expected = answers(folder / "fp32.onnx", images)
    quantize_dynamic(folder / "prepared.onnx", tmp_path / "dynamic.onnx")
    quantize_static(folder / "prepared.onnx", tmp_path / "static.onnx", [images])
    for name in ("dynamic", "static"):
        file = tmp_path / f"{name}.onnx"
        assert data_files(file) == [tmp_path / f"{name}.onnx.data"]
        assert data_files(file)[0].stat().st_mode == file.stat().st_mode
        assert likeness(answers(file, images), expected) > 0.95


def test_shared_weights_are_left_alone(tmp_path):
    """Weights that two layers share would have to be split in two: they stay in fp32."""

    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear, self.head = nn.Linear(48, 48), nn.Linear(48, 10)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = self.head(self.linear(self.linear(images.flatten(1))))
            return logits

    write_onnx(Tied().eval(), tmp_path / "fp32.onnx", (4, 4), {})
    prepare(tmp_path / "fp32.onnx", tmp_path / "prepared.onnx")
    quantize_dynamic(tmp_path / "prepared.onnx", tmp_path / "dynamic.onnx")
    assert operators(tmp_path / "dynamic.onnx")["MatMulInteger"] == 1


def test_same_bytes_in_every_process(folder, images, tmp_path):
    """Files don't depend on the order of Python's sets: their hashes can be compared."""
    np.save(tmp_path / "images.npy", images[:2])
    code = (
        "import sys, numpy; from pathlib import Path; from export.quantize import *; "
        "source, folder = map(Path, sys.argv[1:]); batch = numpy.load(folder / 'images.npy'); "
        "quantize_static(source, folder / 'static.onnx', [batch]); "
        "quantize_dynamic(source, folder / 'dynamic.onnx')"
    )
    digests = set()
    for seed in ("1", "2"):
        command = [sys.executable, "-c", code, folder / "prepared.onnx", tmp_path]
        subprocess.run(command, check=True, env={**os.environ, "PYTHONHASHSEED": seed})
        contents = [(tmp_path / f"{name}.onnx").read_bytes() for name in ("static", "dynamic")]
        digests.add(tuple(hashlib.sha256(content).hexdigest() for content in contents))
    assert len(digests) == 1


@pytest.mark.parametrize("method", quantize.METHODS)
def test_a_fixed_batch_is_calibrated_image_by_image(tmp_path, method):
    """A given file that takes four at a time gets the ranges of one that takes any number."""
    photos = np.random.default_rng(1).uniform(0, 255, (8, 16, 16, 3)).astype(np.float32)
    made = {}
    for batch in (4, "N"):
        prepared, target = tmp_path / f"{batch}.onnx", tmp_path / f"{batch}-int8.onnx"
        prepare(keras_like(tmp_path / "given.onnx", batch=batch), prepared)
        quantize_static(prepared, target, [photos], Int8(method=method))
        session = onnxruntime.InferenceSession(target, providers=["CPUExecutionProvider"])
        made[batch] = session.run(None, {"image": photos[:4]})[0]
    np.testing.assert_allclose(made[4], made["N"], atol=1e-6)


def half_named(file: Path) -> Path:
    """Two fully connected layers: the second is called as the first, which has no name, may be."""
    chance = np.random.default_rng(0)
    tensors = []
    for name, (tall, wide) in {"a": (64, 48), "b": (48, 40)}.items():
        # Of rank 4, so that low-rank has something to gain.
        matrix = chance.standard_normal((tall, 4)) @ chance.standard_normal((4, wide)) / 16
        tensors.append(numpy_helper.from_array(matrix.astype(np.float32), name))
    nodes = [
        onnx.helper.make_node("Gemm", ["input", "a"], ["x"]),
        onnx.helper.make_node("Gemm", ["x", "b"], ["scores"], name="Gemm_0"),
    ]
    value = onnx.helper.make_tensor_value_info
    inputs = [value("input", TensorProto.FLOAT, ["N", 64])]
    outputs = [value("scores", TensorProto.FLOAT, ["N", 40])]
    made = onnx.helper.make_graph(nodes, "half named", inputs, outputs, tensors)
    opsets = [onnx.helper.make_opsetid("", 13)]
    onnx.save(onnx.helper.make_model(made, opset_imports=opsets, ir_version=8), file)
    return file


@pytest.mark.parametrize("step", [quantize_dynamic, int4_weights, low_rank])
def test_names_that_are_given_are_free(tmp_path, step):
    """No two layers get one name, nor their weights."""
    prepared, target = tmp_path / "prepared.onnx", tmp_path / "made.onnx"
    prepare(half_named(tmp_path / "given.onnx"), prepared)
    assert [node.name for node in graph(prepared).node] == ["Gemm_0_", "Gemm_0"]
    inputs = np.random.default_rng(1).standard_normal((9, 64)).astype(np.float32)
    step(prepared, target, **({"images": inputs} if step is low_rank else {}))
    assert likeness(answers(target, inputs), answers(prepared, inputs)) > 0.9
