"""Files that mean harm: whatever stands in them, the answer is a sentence."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from onnx import TensorProto, helper  # noqa: E402

from bench.given import describe as described_by_a_child  # noqa: E402
from export.adopt import adopt, describe, main  # noqa: E402
from export.given import Described, GivenError, Port, Said, variant  # noqa: E402
from export.images import Preprocess  # noqa: E402
from tests.export.damage import VARIED, damage, damaged, field  # noqa: E402
from tests.export.given_files import ENDLESS, keras_like, with_functions  # noqa: E402

if TYPE_CHECKING:  # building needs torch
    from export.run import Event
    from export.variants import Variant

TOLD = Said(preset="bytes", resize="squash", filter="bilinear", size=(16, 16))


METADATA = {
    "names": "{0: 'a', 1: 'b', 2: 'c', 3: 'd', 4: 'e', 5: 'f', 6: 'g', 7: 'h', 8: 'i', 9: 'j'}",
    "deploybench.preprocess": Preprocess((16, 16), first=20, layout="NHWC").to_json(),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A small classifier whose bytes are to be changed; it says all that is read of one."""
    file = tmp_path_factory.mktemp("whole") / "a.onnx"
    return keras_like(file, size=None, metadata=METADATA).read_bytes()


@settings(VARIED, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
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


PLACES = ("names", "classes", "deploybench.class_names", "deploybench.preprocess")
TEXTS = st.one_of(
    # What Python's literals and JSON are made of, put together in any way.
    st.text("{}[]():,'\"0123456789.eE+-jxbu\\ NoneTru", max_size=30),
    st.sampled_from(["[", "(", "{", "{1:", "-", "1+", "not ", "'", '{"a":']).flatmap(
        lambda part: st.integers(0, 200_000).map(
            lambda count: part * min(count, 400_000 // len(part))
        )
    ),
    st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner),
        max_leaves=9,
    ).map(json.dumps),
)


def described_with(metadata: dict[str, str]) -> Described:
    """What the reader would say of a file with these metadata, which are a stranger's."""
    return Described(
        file="/models/leaf.onnx",
        sha256="5a" * 32,
        size_bytes=1000,
        opset=13,
        inputs=(Port("image", "float", (None, 16, 16, 3)),),
        outputs=(Port("probs", "float", (None, 10)),),
        metadata=metadata,
    )


@settings(VARIED, max_examples=300)
@given(st.dictionaries(st.sampled_from(PLACES), TEXTS, min_size=1))
def test_metadata_of_any_text_are_used_or_refused(metadata: dict[str, str]) -> None:
    """They are taken apart in the user's process: no other exception than the one that is told."""
    try:
        row = variant(described_with(metadata), TOLD, Said())
    except GivenError:
        return
    assert row.given is not None
    assert len(row.given.class_names) in (0, 10)


@pytest.mark.parametrize(
    "text",
    [
        "{[1]: 2}",
        "{{}: 1}",
        "[" * 100_000,
        "(" * 100_000,
        '{"a":' * 100_000,
        "-" * 200_000 + "1",
        "1" + "+1" * 100_000,
        "{0x" + "f" * 5000 + ": 'a'}",
        "9" * 5000,
        "1e999999",
        "'\\N{x}'",
        "b'a'",
        "\x00",
    ],
    ids=lambda text: text[:8],
)
def test_names_that_no_reader_can_take(text: str) -> None:
    """Lists as keys, nests without end, numbers without end: these are no names."""
    row = variant(described_with({"names": text}), TOLD, Said())
    assert row.given is not None and row.given.class_names == ()


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"size":' * 100_000, "[]", "null", "{}", '{"size": {}}', "9" * 5000]
)
def test_preprocessing_that_no_reader_can_take(text: str) -> None:
    """The sentence names the metadata, whatever stands there."""
    with pytest.raises(GivenError, match=r"its metadata's deploybench\.preprocess"):
        variant(described_with({"deploybench.preprocess": text}), Said(), Said())


def test_a_file_can_not_ask_for_an_absurd_resize() -> None:
    """The user's own process resizes labelled images, first of all to what a file says."""
    own = Preprocess((16, 16), first=100_000, layout="NHWC").to_json()
    with pytest.raises(GivenError, match="resized at first to 100000 x 100000 pixels"):
        variant(described_with({"deploybench.preprocess": own}), Said(), Said())


def building(row: Variant, tmp_path: Path) -> list[Event]:
    """What is told while the fp32 file of a given model is built."""
    from export.build import Options, Wanted
    from export.run import Request, serve
    from export.variants import VARIANTS

    events: list[Event] = []
    wanted = (Wanted(row.name, "fp32", "onnx"),)
    try:
        serve(Request(str(tmp_path / "store"), Options(given=(row,)), wanted), events.append)
    finally:
        VARIANTS.pop(row.name, None)
    return events


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


def test_inputs_and_outputs_without_end_are_refused(tmp_path: Path) -> None:
    """A sentence in place of a list that the user's process would have to hold."""

    def change(model: Any) -> None:
        for number in range(1000):
            model.graph.output.add().CopyFrom(model.graph.output[0])
            model.graph.output[-1].name = f"more {number}"

    with pytest.raises(GivenError, match="has 1002 inputs and outputs, more than 1000"):
        describe(changed(tmp_path, change))


def test_what_is_told_of_a_file_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A name of any length is no answer, and no error either."""
    file = changed(tmp_path, lambda model: setattr(model.graph.input[0], "name", "x" * 10_000))
    monkeypatch.setattr("export.adopt._MOST_SAID", 9_000)
    assert main([str(file)]) == 2
    said = capsys.readouterr()
    assert "more than 9000: that is no image classifier" in said.err and not said.out
    monkeypatch.setattr("export.adopt._MOST_MESSAGE", 20)
    assert main([str(tmp_path / ("y" * 100))]) == 2
    assert len(capsys.readouterr().err) == 21


def test_weights_that_claim_more_than_there_are(tmp_path: Path) -> None:
    """A tensor of a terabyte in a file of a kilobyte: the copy is refused, nothing is allocated."""

    def change(model: Any) -> None:
        model.graph.initializer[0].dims[0] = 10**12

    file = changed(tmp_path, change)
    row = variant(describe(file), TOLD, Said())
    assert row.given is not None
    with pytest.raises((GivenError, ValueError)):
        adopt(row.given, row.input_size, tmp_path / "model.onnx")


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


@pytest.mark.long
@pytest.mark.slow
@settings(
    VARIED,
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
    from export.run import Request, serve
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
    events = building(row, tmp_path)
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


def test_a_file_cut_off_anywhere_is_refused(tmp_path: Path) -> None:
    """Each length below the whole, by the reader; behind the graph no opset is named."""
    file = keras_like(tmp_path / "a.onnx")
    assert describe(file).opset == 13
    for length in reversed(range(file.stat().st_size)):
        os.truncate(file, length)
        with pytest.raises(GivenError, match="a.onnx"):
            describe(file)


def test_weights_cut_off_are_refused(tmp_path: Path) -> None:
    """A data file that is shorter than the tensors in it, before anything is built."""
    file = keras_like(tmp_path / "a.onnx", external=True)
    weights = tmp_path / "a.onnx.weights"
    whole = weights.stat().st_size
    assert describe(file).size_bytes == file.stat().st_size + whole
    for length in (whole - 1, whole // 2, 1, 0):
        os.truncate(weights, length)
        with pytest.raises(GivenError, match=f"a.onnx.weights has {length} bytes, and tensor"):
            describe(file)


@pytest.mark.parametrize(("calls", "message"), ENDLESS, ids=[one[1] for one in ENDLESS])
def test_functions_without_end_are_refused(
    tmp_path: Path, calls: dict[str, list[str]], message: str
) -> None:
    """Before anybody puts them where they are called: neither the reader nor a later adoption."""
    plain = keras_like(tmp_path / "a.onnx", size=None)
    row = variant(describe(plain), TOLD, Said())
    assert row.given is not None
    file = with_functions(plain, calls)
    with pytest.raises(GivenError, match=message):
        describe(file)
    with pytest.raises(GivenError, match=message):
        adopt(row.given, row.input_size, tmp_path / "model.onnx")


def test_functions_that_end_are_described(tmp_path: Path) -> None:
    """One that calls another twice, from a branch as well, is no cycle."""
    file = keras_like(tmp_path / "a.onnx", size=None)
    with_functions(file, {"A": ["B", "B"], "B": ["Relu"]})
    assert variant(describe(file), TOLD, Said()).classes == 10


@pytest.mark.parametrize("domain", ["com.example", ""], ids=["a domain of its own", "ONNX's"])
def test_an_operator_that_nobody_has_is_a_reason(tmp_path: Path, domain: str) -> None:
    """Its name reaches a person's screen by notes and reasons, and moves no cursor there."""
    from rich.console import Console

    from bench.files import Event as Told
    from bench.progress import Progress
    from export.run import EVENT

    def change(model: Any) -> None:
        model.graph.node[2].op_type = "Own\x1b[31m"
        model.graph.node[2].domain = domain
        if domain:
            model.opset_import.append(helper.make_opsetid(domain, 1))

    row = variant(describe(changed(tmp_path, change)), TOLD, Said())
    events = building(row, tmp_path)
    assert events[-1].kind == "failed" and "Own\ufffd[31m" in events[-1].text
    assert "Traceback" not in events[-1].text
    screen = io.StringIO()
    progress = Progress(Console(file=screen, width=400))
    for event in events:
        assert event.text.isprintable()
        progress.building(TypeAdapter(Told).validate_json(EVENT.dump_json(event)))
    progress.building(Told("note", text="from another version: Own\x1b[31m"))
    assert "\x1b" not in screen.getvalue() and "Own\ufffd[31m" in screen.getvalue()
