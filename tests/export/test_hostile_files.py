"""Files that mean harm: whatever stands in them, the answer is a sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from onnx import TensorProto, helper  # noqa: E402

from bench.given import describe as described_by_a_child  # noqa: E402
from export.adopt import adopt, describe  # noqa: E402
from export.given import GivenError, Said, variant  # noqa: E402
from tests.export.damage import damage, damaged  # noqa: E402
from tests.export.given_files import keras_like  # noqa: E402

TOLD = Said(preset="bytes", resize="squash", filter="bilinear", size=(16, 16))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A small classifier whose bytes are to be changed."""
    return keras_like(tmp_path_factory.mktemp("whole") / "a.onnx", size=None).read_bytes()


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(damage())
def test_a_damaged_file_is_read_or_refused(
    whole: bytes, tmp_path: Path, changes: list[tuple[str, float, bytes]]
) -> None:
    """No other exception than the one that is shown as a sentence, at whatever bytes."""
    file = tmp_path / "a.onnx"
    file.write_bytes(damaged(whole, changes))
    try:
        row = variant(describe(file), TOLD, Said())
    except GivenError:
        return
    assert row.given is not None
    assert row.classes > 0


def changed(tmp_path: Path, change: Any) -> Path:
    """A file whose model was handed to ``change`` before it was written."""
    file = keras_like(tmp_path / "a.onnx", size=None)
    model = onnx.load(file)
    change(model)
    file.write_bytes(model.SerializeToString())
    return file


def test_an_absurd_image_is_refused(tmp_path: Path) -> None:
    """Before anybody makes room for it."""
    for side, message in ((100_000, "100000 x 100000 pixels"), (2**40, "pixels, more than")):
        file = keras_like(tmp_path / "a.onnx", size=side)
        with pytest.raises(GivenError, match=message):
            variant(describe(file), Said(preset="tf", resize="squash", filter="bilinear"), Said())


def test_absurd_classes_are_refused(tmp_path: Path) -> None:
    """A number for each of a million million."""

    def change(model: Any) -> None:
        model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 10**12

    with pytest.raises(GivenError, match="more classes than"):
        variant(describe(changed(tmp_path, change)), TOLD, Said())


def test_weights_that_claim_more_than_there_are(tmp_path: Path) -> None:
    """A tensor of a terabyte in a file of a kilobyte: the copy is refused, nothing is allocated."""

    def change(model: Any) -> None:
        model.graph.initializer[0].dims[0] = 10**12

    file = changed(tmp_path, change)
    row = variant(describe(file), TOLD, Said())
    assert row.given is not None
    with pytest.raises((GivenError, ValueError)):
        adopt(row.given, row.input_size, tmp_path / "model.onnx")


def field(number: int, content: bytes) -> bytes:
    """A length-delimited field of a protobuf message."""
    length, size = len(content), b""
    while length >= 128:
        size, length = size + bytes([length % 128 + 128]), length // 128
    return bytes([number * 8 + 2]) + size + bytes([length]) + content


def test_subgraphs_without_end_are_refused(tmp_path: Path) -> None:
    """Branches within branches, more than any network has: nobody goes down to the last of them."""
    graph = b""
    for _ in range(5000):
        attribute = field(6, graph)  # AttributeProto.g
        graph = field(1, field(5, attribute))  # GraphProto.node, NodeProto.attribute
    file = tmp_path / "a.onnx"
    file.write_bytes(b"\x08\x08" + field(7, graph))  # ModelProto.ir_version and .graph
    with pytest.raises(GivenError, match="truncated or not an .onnx file"):
        describe(file)


def test_names_can_not_steer_a_terminal(tmp_path: Path) -> None:
    """Escape sequences in names and in class names are shown as a mark."""
    names = [f"leaf {number}\x1b[31m\r" for number in range(10)]
    file = keras_like(tmp_path / "a.onnx", metadata={"classes": json.dumps(names)})
    row = variant(describe(file), TOLD, Said())
    assert row.given is not None
    assert row.given.class_names[0] == "leaf 0\ufffd[31m"
    evil = tmp_path / "a b\x1b@c.onnx"
    file.rename(evil)
    assert variant(describe(evil), TOLD, Said()).name == "a-b-c.onnx"


def test_operators_that_nobody_knows_are_described(tmp_path: Path) -> None:
    """Whether a runtime can run them is its own word; reading needs no more than the graph."""

    def change(model: Any) -> None:
        model.graph.node[2].domain = "com.example"
        model.opset_import.append(helper.make_opsetid("com.example", 1))

    file = changed(tmp_path, change)
    row = variant(describe(file), TOLD, Said())
    assert row.given is not None
    adopt(row.given, row.input_size, tmp_path / "model.onnx")


def test_the_reading_child_has_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What needs more memory than it may is a sentence, and this process never feels it."""
    file = keras_like(tmp_path / "a.onnx")
    assert described_by_a_child(file).opset == 13
    monkeypatch.setattr("bench.given._LEAST_BYTES", 1 << 20)
    with pytest.raises(GivenError, match="a.onnx"):
        described_by_a_child(file)
    monkeypatch.undo()
    monkeypatch.setattr("bench.given._LIMIT_S", 0.001)
    with pytest.raises(GivenError, match="could not be read within"):
        described_by_a_child(file)


@pytest.mark.slow
@settings(
    max_examples=8,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.filter_too_much],
)
@given(damage())
def test_a_damaged_file_is_built_or_a_reason(
    whole: bytes, tmp_path: Path, changes: list[tuple[str, float, bytes]]
) -> None:
    """What can still be read goes through the real builders in children of their own."""
    from hypothesis import assume

    from export.build import Options, Wanted
    from export.run import Event, Request, serve
    from export.variants import VARIANTS

    file = tmp_path / "a.onnx"
    file.write_bytes(damaged(whole, changes))
    try:
        row = variant(describe(file), TOLD, Said())
    except GivenError:
        assume(False)
    VARIANTS.pop(row.name, None)
    events: list[Event] = []
    wanted = tuple(Wanted(row.name, name, "onnx") for name in ("fp32", "int8-static"))
    try:
        serve(Request(str(tmp_path / "store"), Options(given=(row,)), wanted), events.append)
    finally:
        VARIANTS.pop(row.name, None)
    ends = [event for event in events if event.kind in ("built", "failed")]
    assert len(ends) == len(wanted)
    assert all(event.artifact or event.text for event in ends)


def test_a_building_child_has_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few bytes that make a tensor of any size cost a sentence, and not the machine's memory."""
    from export import memory
    from export.build import Options, Wanted
    from export.run import Event, Request, serve
    from export.variants import VARIANTS

    def change(model: Any) -> None:
        size = onnx.numpy_helper.from_array(np.array([800_000_000]), "size")  # 3.2 GB
        model.graph.initializer.append(size)
        model.graph.node.extend(
            [
                helper.make_node("ConstantOfShape", ["size"], ["huge"]),
                helper.make_node("ReduceMax", ["huge"], ["zero"], keepdims=0),
                helper.make_node("Add", ["probs", "zero"], ["more"]),
            ]
        )
        model.graph.output[0].name = "more"

    row = variant(describe(changed(tmp_path, change)), TOLD, Said())
    monkeypatch.setattr(memory, "child_bytes", lambda: 2 << 30)
    events: list[Event] = []
    wanted = (Wanted(row.name, "fp32", "onnx"),)
    try:
        serve(Request(str(tmp_path / "store"), Options(given=(row,)), wanted), events.append)
    finally:
        VARIANTS.pop(row.name, None)
    assert events[-1].kind == "failed"
    assert "it needs more memory than the 2.0 GiB allowed" in events[-1].text


def test_the_limit_has_room_for_the_largest_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine of 24 GiB for xception-flatten-wide; on a small one for the libraries."""
    from export import memory

    monkeypatch.setattr(memory, "machine_bytes", lambda: 24 << 30)
    assert 16 << 30 < memory.child_bytes() < 24 << 30
    monkeypatch.setattr(memory, "machine_bytes", lambda: 2 << 30)
    assert memory.child_bytes() == 4 << 30


def test_a_batch_of_nothing(tmp_path: Path) -> None:
    """Zero or less is an open batch: some exporters write it so."""

    def change(model: Any) -> None:
        for value in (*model.graph.input, *model.graph.output):
            value.type.tensor_type.shape.dim[0].dim_value = 0

    row = variant(describe(changed(tmp_path, change)), TOLD, Said())
    assert row.given is not None and row.given.batch is None
    adopt(row.given, row.input_size, tmp_path / "model.onnx")
    (port,) = onnx.load(tmp_path / "model.onnx").graph.input
    assert port.type.tensor_type.shape.dim[0].dim_param == "batch"
    assert port.type.tensor_type.elem_type == TensorProto.FLOAT
