"""What is read in a given .onnx file, and the copy that is made of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

from onnx import TensorProto, helper  # noqa: E402

from export.adopt import adopt, answers, describe, main  # noqa: E402
from export.given import GivenError, Said, variant  # noqa: E402
from export.variants import Variant  # noqa: E402
from tests.export.given_files import CLASSES, keras_like  # noqa: E402

TOLD = Said(preset="bytes", resize="squash", filter="bilinear")


def row_of(file: Path, **said: Any) -> Variant:
    """The variant that stands for ``file``."""
    return variant(describe(file), Said(**{**vars(TOLD), **said}), Said())


def adopted(file: Path, folder: Path, **said: Any) -> Path:
    """The copy of ``file``."""
    row = row_of(file, **said)
    assert row.given is not None
    folder.mkdir()
    adopt(row.given, row.input_size, folder / "model.onnx")
    return folder / "model.onnx"


def run(file: Path, images: Any, output: str | None = None) -> Any:
    """What ONNX Runtime answers."""
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return session.run([output or session.get_outputs()[0].name], {name: images})[0]


def images(count: int = 2) -> Any:
    """Whole bytes, channels last."""
    return np.random.default_rng(1).integers(0, 256, (count, 16, 16, 3)).astype(np.float32)


def test_a_file_is_described_without_its_weights(tmp_path: Path) -> None:
    """Inputs, outputs, opset, metadata, and a hash over all that belongs to it."""
    file = keras_like(tmp_path / "a.onnx", metadata={"names": "x", "other": "y"}, external=True)
    found = describe(file)
    assert [(port.name, port.shape) for port in found.inputs] == [("image", (None, 16, 16, 3))]
    assert [(port.name, port.shape) for port in found.outputs] == [("probs", (None, CLASSES))]
    assert (found.opset, found.metadata) == (13, {"names": "x"})
    before = found.sha256
    weights = tmp_path / "a.onnx.weights"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\0")
    assert describe(file).sha256 != before


def test_weights_that_are_inputs_are_no_inputs(tmp_path: Path) -> None:
    """Before IR version 4 every initialiser stood among the inputs."""
    file = keras_like(tmp_path / "a.onnx", weights_as_inputs=True)
    assert [port.name for port in describe(file).inputs] == ["image"]
    copy = onnx.load(adopted(file, tmp_path / "copy"))
    assert [value.name for value in copy.graph.input] == ["image"]


def test_a_large_file_is_adopted_beside_its_like(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over protobuf's limit weights stand in a data file, whatever the current folder holds."""
    file = keras_like(tmp_path / "model.onnx")
    (tmp_path / "model.onnx.data").write_bytes(b"another's")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("export.adopt.LARGEST_SINGLE_FILE", 10)
    monkeypatch.setattr("export.adopt.INLINE_BYTES", 100)
    copy = adopted(file, tmp_path / "copy")
    graph = onnx.load(copy, load_external_data=False).graph
    outside = [tensor for tensor in graph.initializer if tensor.external_data]
    data = (tmp_path / "copy" / "model.onnx.data").stat().st_size
    assert outside and data < sum(path.stat().st_size for path in copy.parent.iterdir())
    np.testing.assert_array_equal(run(copy, images()), run(file, images()))
    assert (tmp_path / "model.onnx.data").read_bytes() == b"another's"


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"external": True},
        {"opset": 11},
        {"opset": 9},
        {"batch": 2},
        {"batch": "N"},
        {"kind": TensorProto.UINT8},
        {"map_outputs": True},
        {"more_outputs": True},
        {"size": None},
    ],
)
def test_the_copy_answers_as_the_original(tmp_path: Path, how: dict[str, Any]) -> None:
    """To floats, one number for each class, whatever types and shapes the original has."""
    file = keras_like(tmp_path / "a.onnx", **how)
    said: dict[str, Any] = {"output": "probs"} if "more_outputs" in how else {}
    if "size" in how:
        said["size"] = (16, 16)
    copy = adopted(file, tmp_path / "copy", **said)
    kind = np.uint8 if "kind" in how else np.float32
    wanted = run(file, images().astype(kind)).reshape(2, CLASSES)
    assert np.array_equal(run(copy, images()), wanted)
    model = onnx.load(copy)
    (port,) = model.graph.input
    assert [dim.dim_value for dim in port.type.tensor_type.shape.dim[1:]] == [16, 16, 3]
    assert len(model.graph.output) == 1
    assert "Neg" not in {node.op_type for node in model.graph.node}
    assert np.allclose(answers(copy, images()), wanted, atol=1e-6)


def test_the_original_stays_as_it_is(tmp_path: Path) -> None:
    """It is the user's: nothing is written beside it."""
    file = keras_like(tmp_path / "a.onnx", external=True)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    adopted(file, tmp_path / "copy")
    after = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    assert before == after


def test_a_file_that_changed_meanwhile_is_refused(tmp_path: Path) -> None:
    """Under the key of the old one the new one would be taken for it for good."""
    file = keras_like(tmp_path / "a.onnx")
    row = row_of(file)
    keras_like(file, opset=14)
    assert row.given is not None
    with pytest.raises(GivenError, match="has changed since this build began"):
        adopt(row.given, row.input_size, tmp_path / "model.onnx")


@pytest.mark.parametrize("place", ["../secret", "/etc/passwd", "sub/weights"])
def test_data_outside_of_the_folder_is_refused(tmp_path: Path, place: str) -> None:
    """A file from elsewhere must not name what it may read."""
    file = keras_like(tmp_path / "a.onnx", external=True)
    model = onnx.load(file, load_external_data=False)
    for tensor in model.graph.initializer:
        del tensor.external_data[:]
        tensor.external_data.add(key="location", value=place)
    file.write_bytes(model.SerializeToString())
    with pytest.raises(GivenError, match="outside of its folder"):
        describe(file)


def test_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    """Nor by way of a symbolic link."""
    (tmp_path / "secret").write_bytes(b"\0" * 4096)
    (tmp_path / "in").mkdir()
    file = keras_like(tmp_path / "in" / "a.onnx", external=True)
    (tmp_path / "in" / "a.onnx.weights").unlink()
    (tmp_path / "in" / "a.onnx.weights").symlink_to(tmp_path / "secret")
    with pytest.raises(GivenError, match="a link that leads out of its folder"):
        describe(file)


def test_missing_data_is_named(tmp_path: Path) -> None:
    """The half that was forgotten."""
    file = keras_like(tmp_path / "a.onnx", external=True)
    (tmp_path / "a.onnx.weights").unlink()
    with pytest.raises(GivenError, match=r"its data file a\.onnx\.weights is missing"):
        describe(file)


def test_every_truncation_is_an_error_or_the_whole_graph(tmp_path: Path) -> None:
    """No length of a cut file is taken for something else, and none crashes the reader."""
    whole = keras_like(tmp_path / "a.onnx").read_bytes()
    cut = tmp_path / "cut.onnx"
    for length in range(0, len(whole), 7):
        cut.write_bytes(whole[:length])
        with pytest.raises(GivenError):
            describe(cut)


def test_the_reader_prints_json_or_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2, and the file is named."""
    file = keras_like(tmp_path / "a.onnx")
    assert main([str(file)]) == 0
    assert '"opset":13' in capsys.readouterr().out
    (tmp_path / "b.onnx").write_bytes(b"no model")
    assert main([str(tmp_path / "b.onnx")]) == 2
    assert "b.onnx" in capsys.readouterr().err


def test_integers_are_no_images(tmp_path: Path) -> None:
    """A graph that takes words is no image classifier, whatever its shape."""
    file = keras_like(tmp_path / "a.onnx", kind=TensorProto.INT64)
    with pytest.raises(GivenError, match="takes int64, which no image is"):
        adopted(file, tmp_path / "copy")


def test_values_of_subgraphs_keep_what_they_need(tmp_path: Path) -> None:
    """A branch reads values from outside: what it needs is not cut off."""
    branch = [
        helper.make_graph(
            [helper.make_node(kind, ["weights"], [f"{kind}_out"])],
            kind,
            [],
            [helper.make_tensor_value_info(f"{kind}_out", TensorProto.FLOAT, [CLASSES])],
        )
        for kind in ("Neg", "Abs")
    ]
    nodes = [
        helper.make_node("GlobalAveragePool", ["image"], ["pooled"]),
        helper.make_node("ReduceSum", ["pooled"], ["sum"], keepdims=0),
        helper.make_node("Greater", ["sum", "zero"], ["positive"]),
        helper.make_node(
            "If", ["positive"], ["chosen"], then_branch=branch[0], else_branch=branch[1]
        ),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("MatMul", ["flat", "dense"], ["scores"]),
        helper.make_node("Add", ["scores", "chosen"], ["out"]),
    ]
    arrays = {
        "weights": np.arange(CLASSES, dtype=np.float32),
        "zero": np.zeros((), np.float32),
        "dense": np.ones((3, CLASSES), np.float32),
    }
    graph = helper.make_graph(
        nodes,
        "branching",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 3, 16, 16])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, ["N", CLASSES])],
        [onnx.numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, tmp_path / "a.onnx")
    copy = adopted(tmp_path / "a.onnx", tmp_path / "copy")
    batch = images().transpose(0, 3, 1, 2).copy()
    assert np.array_equal(run(copy, batch[:1]), run(tmp_path / "a.onnx", batch[:1]))


def moved_outside(tensor: Any, data: Path) -> Any:
    """``tensor`` with its values in a data file."""
    data.write_bytes(tensor.raw_data)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=data.name)
    return tensor


def with_far_data(file: Path, place: str) -> Path:
    """A model with values in ``far.bin``, at a place where data files are seldom looked for."""
    model = onnx.load(keras_like(file))
    tensor = onnx.numpy_helper.from_array(np.ones(CLASSES, np.float32), "far")
    far = moved_outside(tensor, file.with_name("far.bin"))
    graph = model.graph
    if place == "padded":
        far.doc_string = "x" * (1 << 17)
        graph.initializer.append(far)
    elif place == "constant":
        graph.node.append(helper.make_node("Constant", [], ["far"], value=far))
    else:
        out = helper.make_tensor_value_info("far", TensorProto.FLOAT, [CLASSES])
        branch = helper.make_graph([], "branch", [], [out], [far])
        if place == "constant in a branch":
            branch.ClearField("initializer")
            branch.node.append(helper.make_node("Constant", [], ["far"], value=far))
        true = onnx.numpy_helper.from_array(np.array(True), "true")
        graph.initializer.append(true)
        node = helper.make_node("If", ["true"], ["far_out"], then_branch=branch, else_branch=branch)
        graph.node.append(node)
    source = "far_out" if "branch" in place else "far"
    graph.node.append(helper.make_node("Add", ["probs", source], ["more"]))
    graph.output[0].name = "more"
    file.write_bytes(model.SerializeToString())
    return file


FAR = ["padded", "constant", "branch", "constant in a branch"]


@pytest.mark.parametrize("place", FAR)
def test_all_data_files_belong_to_the_file(tmp_path: Path, place: str) -> None:
    """Wherever a tensor stands: what its values are in is hashed, counted and checked."""
    (tmp_path / "in").mkdir()
    file = with_far_data(tmp_path / "in" / "a.onnx", place)
    data = file.with_name("far.bin")
    before = describe(file)
    assert before.size_bytes == file.stat().st_size + 4 * CLASSES
    data.write_bytes(bytes(4 * CLASSES))
    assert describe(file).sha256 != before.sha256
    data.rename(tmp_path / "far.bin")
    with pytest.raises(GivenError, match=r"its data file far\.bin is missing"):
        describe(file)
    data.symlink_to(tmp_path / "far.bin")
    with pytest.raises(GivenError, match="a link that leads out of its folder"):
        describe(file)


@pytest.mark.parametrize("place", FAR)
def test_the_copy_holds_all_data(tmp_path: Path, place: str) -> None:
    """It answers as the original does, without the data file; a change of that is seen."""
    file = with_far_data(tmp_path / "a.onnx", place)
    row = row_of(file)
    copy = adopted(file, tmp_path / "copy")
    assert np.array_equal(run(copy, images()), run(file, images()))
    file.with_name("far.bin").write_bytes(bytes(4 * CLASSES))
    assert row.given is not None
    with pytest.raises(GivenError, match="has changed since this build began"):
        adopt(row.given, row.input_size, tmp_path / "model.onnx")
