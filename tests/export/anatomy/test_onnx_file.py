"""What an .onnx file holds, whoever wrote it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from export.anatomy import count
from export.anatomy.blocks import blocks
from export.anatomy.contents import UnreadableFile
from export.anatomy.examine import examine
from export.anatomy.light import light_model
from export.anatomy.onnx_file import read_onnx
from tests.export.anatomy.graphs import convolutional, weights, write_graph

FILTERS = {"conv.weight": weights(8, 3, 3, 3), "second.weight": weights(16, 8, 3, 3, seed=1)}


def test_bytes_parameters_and_macs_are_those_that_are_counted(tmp_path):
    """The layers together hold what ``export.anatomy.count`` finds in the same file."""
    file = convolutional(tmp_path / "small.onnx", FILTERS)
    contents, counted = read_onnx(file).contents, count(file)
    assert contents.parameters == counted.parameters
    assert contents.macs == counted.macs
    assert [layer.macs for layer in contents.layers] == [one.macs for one in counted.layers]
    assert contents.stored_bytes == 4 * counted.parameters
    assert [layer.name for layer in contents.layers] == ["conv", "second", "head"]


def test_large_weights_stay_in_the_file(tmp_path):
    """They are mapped from inside the .onnx: the message holds references, the values agree."""
    large = weights(64, 64, 5, 5)
    nodes = [helper.make_node("Conv", ["input", "w"], ["logits"])]
    file = write_graph(tmp_path / "large.onnx", nodes, {"w": large}, shape=("n", 64, 8, 8))
    assert light_model(file).ByteSize() < 1000
    (tensor,) = read_onnx(file).contents.tensors
    assert isinstance(tensor.values(), np.memmap)
    np.testing.assert_array_equal(tensor.values(), large)


def test_external_data_is_mapped_and_counted(tmp_path):
    """Files with a data file beside them: its bytes belong to the file's."""
    file = convolutional(tmp_path / "small.onnx", FILTERS)
    whole = read_onnx(file).contents
    onnx.save(
        onnx.load(file),
        tmp_path / "out.onnx",
        save_as_external_data=True,
        location="out.data",
        size_threshold=0,
    )
    outside = read_onnx(tmp_path / "out.onnx").contents
    assert outside.parameters == whole.parameters and outside.macs == whole.macs
    sizes = [(tmp_path / name).stat().st_size for name in ("out.onnx", "out.data")]
    assert outside.size_bytes == sum(sizes)


@pytest.mark.parametrize("kind", [TensorProto.INT4, TensorProto.UINT4, TensorProto.FLOAT4E2M1])
@pytest.mark.parametrize("outside", [False, True])
def test_elements_of_half_a_byte_are_unpacked(tmp_path, kind, outside):
    """Two are packed in one: element by element they would be the neighbour's, or behind the end.

    Inside the file they are mapped from 64 KiB on, as weights in a data file always are.
    """
    ramp = np.arange(512 * 512, dtype=np.uint8).reshape(512, 512) % 7
    small = np.asarray(ramp, onnx.helper.tensor_dtype_to_np_dtype(kind))
    other = small[:, ::-1].copy()
    arrays = {"a": small, "b": other, "again": small, "scale": np.float32(0.5)}
    tensors = [onnx.numpy_helper.from_array(np.asarray(one), name) for name, one in arrays.items()]
    nodes = [
        helper.make_node("DequantizeLinear", [name, "scale"], [f"{name}.wide"])
        for name in ("a", "b", "again")
    ]
    ends = ["input", "x", "y", "logits"]
    nodes += [
        helper.make_node("MatMul", [ends[i], f"{name}.wide"], [ends[i + 1]])
        for i, name in enumerate(("a", "b", "again"))
    ]
    values = [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 512])]
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, None)]
    graph = helper.make_graph(nodes, "half", values, outputs, tensors)
    opset = [helper.make_opsetid("", 23)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=11)
    file = tmp_path / "half.onnx"
    onnx.save(model, file, save_as_external_data=outside, location="half.data", size_threshold=0)
    examined = examine(file)
    found = {tensor.name: tensor for tensor in examined.contents.tensors}
    for name in ("a", "b", "again"):
        np.testing.assert_array_equal(found[name].values(), arrays[name])
        assert found[name].size_bytes == 512 * 512 // 2
    (copies,) = [one for one in examined.findings if one.code == "duplicates"]
    assert copies.evidence == (f"a = again: {512 * 512 // 2} bytes each",)


@pytest.mark.parametrize("location", ["../secret", "/etc/passwd", "a/b", ".."])
def test_data_outside_of_the_folder_is_refused(tmp_path, location):
    """External data may not leave the file's folder, whatever lies there."""
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    _write_with(tmp_path / "bad.onnx", tensor)
    with pytest.raises(UnreadableFile, match="outside of its folder"):
        read_onnx(tmp_path / "bad.onnx")


def test_a_link_out_of_the_folder_is_refused(tmp_path):
    """Nor by way of a symbolic link; the .onnx itself may be one, for its user chose it."""
    (tmp_path / "secret").write_bytes(bytes(16))
    folder = tmp_path / "in"
    folder.mkdir()
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="w.data")
    _write_with(folder / "bad.onnx", tensor)
    (folder / "w.data").symlink_to(tmp_path / "secret")
    with pytest.raises(UnreadableFile, match="'w.data' is a link that leads out of its folder"):
        read_onnx(folder / "bad.onnx")
    nodes = [helper.make_node("Conv", ["input", "w"], ["logits"])]
    tensors = {"w": weights(64, 64, 5, 5)}
    large = write_graph(tmp_path / "large.onnx", nodes, tensors, shape=("n", 64, 8, 8))
    (folder / "link.onnx").symlink_to(large)
    assert read_onnx(folder / "link.onnx").contents.parameters == 64 * 64 * 25


def test_weights_that_can_not_be_mapped_are_bounded(tmp_path, monkeypatch):
    """The file is whole: the error says what is wrong with it, and not that it is damaged."""
    value = onnx.numpy_helper.from_array(weights(64, 3, 3, 3), "w")
    nodes = [
        helper.make_node("Constant", [], ["w"], value=value),
        helper.make_node("Conv", ["input", "w"], ["logits"]),
    ]
    file = write_graph(tmp_path / "c.onnx", nodes, {})
    for most in (4000, 6950):  # of one field, of the whole graph
        monkeypatch.setattr("export.anatomy.light._MOST_OTHER_BYTES", most)
        with pytest.raises(UnreadableFile, match="besides its large weights"):
            read_onnx(file)


def test_a_data_file_that_is_too_short_is_an_error(tmp_path):
    """And one that is missing: each names what to fetch."""
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="w.data")
    _write_with(tmp_path / "bad.onnx", tensor)
    with pytest.raises(UnreadableFile, match=r"needs its data file 'w.data'"):
        read_onnx(tmp_path / "bad.onnx")
    (tmp_path / "w.data").write_bytes(b"123")
    with pytest.raises(UnreadableFile, match="too short"):
        read_onnx(tmp_path / "bad.onnx")


def test_a_shape_that_is_not_that_of_the_values_is_an_error(tmp_path):
    """A petabyte by its shape, sixteen bytes in the file."""
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1 << 48])
    tensor.raw_data = bytes(16)
    _write_with(tmp_path / "bad.onnx", tensor)
    with pytest.raises(UnreadableFile, match="should take 1125899906842624 bytes, not 16"):
        read_onnx(tmp_path / "bad.onnx")


def _write_with(file: Path, tensor: TensorProto) -> None:
    nodes = [helper.make_node("Add", ["input", "w"], ["logits"])]
    graph = helper.make_graph(
        nodes,
        "bad",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 4])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, None)],
        [tensor],
    )
    file.write_bytes(helper.make_model(graph).SerializeToString())


def test_a_file_cut_off_anywhere_is_an_error(tmp_path):
    """Never a crash, never a table of half a network."""
    whole = convolutional(tmp_path / "small.onnx", FILTERS).read_bytes()
    for length in range(0, len(whole), 97):
        cut = tmp_path / "cut.onnx"
        cut.write_bytes(whole[:length])
        with pytest.raises(UnreadableFile, match="cut.onnx"):
            read_onnx(cut)


def test_a_name_that_is_no_text_is_an_error(tmp_path):
    """protobuf gives such a name as bytes, which nothing later expects."""
    file = convolutional(tmp_path / "small.onnx", FILTERS)
    file.write_bytes(file.read_bytes().replace(b"conv.weight", b"conv.\xff\xfeight"))
    with pytest.raises(UnreadableFile, match="which is no text"):
        read_onnx(file)
    convolutional(file, FILTERS)
    file.write_bytes(file.read_bytes().replace(b"batch", b"ba\xffch"))
    with pytest.raises(UnreadableFile, match="which is no text"):
        read_onnx(file)


def test_constant_nodes_are_stored_weights(tmp_path):
    """Some exporters keep weights in Constant nodes: they count like any."""
    value = onnx.numpy_helper.from_array(weights(8, 3, 3, 3), "w")
    nodes = [
        helper.make_node("Constant", [], ["w"], value=value),
        helper.make_node("Conv", ["input", "w"], ["logits"]),
    ]
    contents = read_onnx(write_graph(tmp_path / "c.onnx", nodes, {})).contents
    assert contents.parameters == 8 * 27
    assert contents.macs == 8 * 27 * 36


def test_weights_in_branches_belong_to_their_node(tmp_path):
    """Of an If bytes are shown, and why its work is not."""
    branches = {}
    for name in ("then", "else"):
        node = helper.make_node(
            "Constant", [], [name], value=onnx.numpy_helper.from_array(weights(4), name)
        )
        out = helper.make_tensor_value_info(name, TensorProto.FLOAT, [4])
        branches[f"{name}_branch"] = helper.make_graph([node], name, [], [out])
    nodes = [
        helper.make_node("ReduceSum", ["input"], ["sum"], keepdims=0),
        helper.make_node("Cast", ["sum"], ["condition"], to=TensorProto.BOOL),
        helper.make_node("If", ["condition"], ["logits"], name="choice", **branches),
    ]
    contents = read_onnx(write_graph(tmp_path / "if.onnx", nodes, {})).contents
    assert contents.macs is None and "If" in contents.no_macs
    assert [(x.name, x.size_bytes) for x in contents.layers] == [("choice", 32)]


def test_macs_are_for_one_image_whatever_the_batch(tmp_path):
    """A file that fixes a batch of 4 has the same count as one that leaves it free."""
    free = read_onnx(convolutional(tmp_path / "free.onnx", FILTERS)).contents
    fixed = convolutional(tmp_path / "fixed.onnx", FILTERS, shape=(4, 3, 8, 8))
    assert read_onnx(fixed).contents.macs == free.macs


def test_macs_are_for_one_image_whatever_stands_beside_it(tmp_path):
    """An input of ten factors is no batch of ten, before or behind the images."""
    file = convolutional(tmp_path / "one.onnx", FILTERS, shape=(2, 3, 8, 8))
    macs = read_onnx(file).contents.macs
    model = onnx.load(file)
    for place in (0, 1):
        factors = helper.make_tensor_value_info("factors", TensorProto.FLOAT, [10])
        inputs = list(model.graph.input)[:1]
        inputs.insert(place, factors)
        other = onnx.ModelProto()
        other.CopyFrom(model)
        del other.graph.input[:]
        other.graph.input.extend(inputs)
        onnx.save(other, tmp_path / "two.onnx")
        assert read_onnx(tmp_path / "two.onnx").contents.macs == macs


def test_an_input_without_a_shape_is_no_batch(tmp_path):
    """A scalar beside the images, as old exporters wrote it for each stored scalar."""
    file = convolutional(tmp_path / "one.onnx", FILTERS)
    macs = read_onnx(file).contents.macs
    model = onnx.load(file)
    model.graph.input.add().CopyFrom(helper.make_tensor_value_info("s", TensorProto.FLOAT, []))
    onnx.save(model, file)
    assert read_onnx(file).contents.macs == macs


@pytest.mark.parametrize(
    ("nodes", "text"),
    [
        ([("Identity", ["a"], ["b"]), ("Identity", ["b"], ["a"])], "needs its own output"),
        ([("Relu", ["input"], ["a"]), ("Tanh", ["input"], ["a"])], "'a' is made twice"),
        ([("Conv", ["input"], ["a"])], "lacks inputs or outputs"),
        ([("Relu", ["input"], ["a"]), ("Relu", ["input"], [])], "lacks inputs or outputs"),
    ],
)
def test_a_graph_that_can_not_be_walked_is_an_error(tmp_path, nodes, text):
    """It would keep us walking for ever, or stumbling."""
    made = [helper.make_node(*node) for node in nodes]
    file = write_graph(tmp_path / "odd.onnx", [helper.make_node("Relu", ["input"], ["x"])], {})
    model = onnx.load(file)
    model.graph.node.extend(made)
    onnx.save(model, file)
    with pytest.raises(UnreadableFile, match=text):
        read_onnx(file)


def test_blocks_by_names_and_by_stages(tmp_path):
    """Names with parts divide; where they say nothing, the sizes of the maps do."""
    nodes = [
        helper.make_node("Conv", ["input", "w1"], ["a"], name="c1", pads=[1] * 4),
        helper.make_node("Conv", ["a", "w2"], ["b"], name="c2", pads=[1] * 4),
        helper.make_node("Conv", ["b", "w3"], ["c"], name="c3", strides=[2, 2]),
        helper.make_node("GlobalAveragePool", ["c"], ["d"]),
        helper.make_node("Flatten", ["d"], ["e"]),
        helper.make_node("Gemm", ["e", "w4"], ["logits"], name="g"),
    ]
    tensors = {
        "w1": weights(4, 3, 3, 3),
        "w2": weights(4, 4, 3, 3),
        "w3": weights(6, 4, 2, 2),
        "w4": weights(6, 5),
    }
    file = write_graph(tmp_path / "stages.onnx", nodes, tensors)
    found = {x.name: [y.name for y in x.layers] for x in blocks(read_onnx(file).contents)}
    assert found == {"maps of 8×8": ["c1", "c2"], "maps of 4×4": ["c3"], "head": ["g"]}


def test_names_divide_what_is_large_further(tmp_path):
    """A block of most bytes is shown by its parts, the others stay whole."""
    names = ["net.stem.a", "net.stem.b", "net.head.0", "net.head.1"]
    sizes = [2, 2, 30, 2]
    nodes, tensors, last = [], {}, "flat"
    nodes.append(helper.make_node("Flatten", ["input"], ["flat"]))
    inputs = 192
    for i, (name, size) in enumerate(zip(names, sizes, strict=True)):
        tensors[f"{name}.weight"] = weights(inputs, size)
        nodes.append(helper.make_node("MatMul", [last, f"{name}.weight"], [f"y{i}"]))
        last, inputs = f"y{i}", size
    tensors["net.head.0.weight"] = weights(2, 300)
    tensors["net.head.1.weight"] = weights(300, 2)
    file = write_graph(tmp_path / "names.onnx", nodes, tensors)
    assert [x.name for x in blocks(read_onnx(file).contents)] == [
        "net.stem",
        "net.head.0",
        "net.head.1",
    ]
