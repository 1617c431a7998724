"""What a runtime made of a file: over real files and generated graphs, each in a child."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.block import Effort, load_message, run_block
from bench.case import Case, unsupported
from bench.launch import Child, Setting
from bench.record import Execution
from export.artifact import Artifact
from runtimes import REGISTRY, Explains, adapter, available, medians

onnx = pytest.importorskip("onnx", reason="the graphs are made with onnx: pip install '.[build]'")

Built = Callable[[str, str, str], Artifact]
VARIANT = "revisited-v6"
EXPLAINING = [name for name, row in REGISTRY.items() if row.explains]


def asked(case: Case, artifact: Artifact, folder: Path) -> Execution:
    """What the case's runtime says, in a child as a run starts it; or a skip."""
    if reason := unsupported(case):
        pytest.skip(reason)
    with Child(Setting(case.threads), folder / "log") as child:
        answer = child.ask({**load_message(case, artifact), "do": "explain"}, 100.0)
    assert answer["status"] == "ok", answer
    return Execution(**answer["execution"])


def share(found: Execution, precision: str) -> float:
    """Of the multiply-accumulates, those in a precision."""
    return found.macs.get(precision, 0) / sum(found.macs.values())


@pytest.mark.parametrize("batch_size", [1, 3])
@pytest.mark.parametrize("runtime", EXPLAINING)
@pytest.mark.parametrize(("recipe", "int8"), [("fp32", 0.0), ("int8-static", 1.0)])
def test_share_of_int8(
    runtime: str, recipe: str, int8: float, batch_size: int, built: Built, tmp_path: Path
) -> None:
    """None of an fp32 file, all of a quantised one; in sum the MACs of the network, an image."""
    artifact = built(VARIANT, recipe, "onnx")
    found = asked(Case(VARIANT, recipe, runtime, 1, batch_size), artifact, tmp_path)
    assert share(found, "int8") == int8
    assert sum(found.macs.values()) == artifact.macs
    assert found.unfused == 0


@pytest.mark.parametrize("runtime", EXPLAINING)
@pytest.mark.parametrize("recipe", ["fp32", "int8-static"])
def test_operators_are_profiled(runtime: str, recipe: str, built: Built, tmp_path: Path) -> None:
    """Each that takes time is one that runs; what multiplies is among them."""
    found = asked(Case(VARIANT, recipe, runtime, 1), built(VARIANT, recipe, "onnx"), tmp_path)
    assert set(found.operator_us) <= set(found.operators) | {"Reorder"}
    assert all(us > 0 for us in found.operator_us.values())
    assert any("Conv" in name for name in found.operator_us)


def test_one_slow_inference_is_no_dear_operator() -> None:
    """Of several the median counts: this may be a busy machine."""
    spent = [{"Conv": 5.0, "Relu": 0.0}, {"Conv": 900.0}, {"Conv": 7.0, "Relu": 0.0}]
    assert medians(spent) == {"Conv": 7.0}


@pytest.mark.parametrize(("runtime", "least"), [("ort", 2), ("openvino", 1)])
def test_quantisers_that_stay_at_the_edges(
    runtime: str, least: int, built: Built, tmp_path: Path
) -> None:
    """A network that takes floats has at least one; an fp32 file has none."""
    for recipe, count in (("fp32", 0), ("int8-static", least)):
        case = Case(VARIANT, recipe, runtime, 1)
        found = asked(case, built(VARIANT, recipe, "onnx"), tmp_path)
        assert found.quantize_nodes >= count
        assert (found.quantize_nodes == 0) == (count == 0)


def test_bf16_is_told_from_fp32(built: Built, tmp_path: Path) -> None:
    """The same file, computed in what the case says."""
    case = Case(VARIANT, "fp32", "openvino", 1, precision="bf16")
    with Child(Setting(1), tmp_path / "log") as child:
        artifact = built(VARIANT, "fp32", "onnx")
        answer = child.ask({**load_message(case, artifact), "do": "explain"}, 100.0)
    if answer["status"] == "unsupported":
        pytest.skip(answer["reason"])
    assert list(answer["execution"]["macs"]) == ["bf16"]


def test_dynamic_quantisation_reaches_the_fully_connected_layer_alone(
    built: Built, tmp_path: Path
) -> None:
    """50 by 10 weights of all: the convolutions stay in fp32, whatever the recipe is called."""
    case = Case(VARIANT, "int8-dynamic", "ort", 1)
    found = asked(case, built(VARIANT, "int8-dynamic", "onnx"), tmp_path)
    assert found.macs["int8"] == 500
    assert share(found, "fp32") > 0.999


def model(folder: Path, nodes: list[Any], tensors: dict[str, Any]) -> Artifact:
    """An artifact of ``nodes`` from ``input`` (N, 3, 8, 8) to ``output`` (N, 4)."""
    anatomy = pytest.importorskip("export.anatomy")
    file = folder / "model.onnx"
    value, floats = onnx.helper.make_tensor_value_info, onnx.TensorProto.FLOAT
    graph = onnx.helper.make_graph(
        nodes,
        "generated",
        [value("input", floats, ["batch", 3, 8, 8])],
        [value("output", floats, ["batch", 4, 8, 8])],
        [onnx.numpy_helper.from_array(np.asarray(t), name) for name, t in tensors.items()],
    )
    opset = [onnx.helper.make_opsetid("", 20)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=9), file)
    np.save(folder / "inputs.npy", np.zeros((2, 3, 8, 8), np.float32))
    structure, counted = anatomy.structure(file), anatomy.count(file)
    return Artifact(
        key="k",
        variant=VARIANT,
        weights="seeded",
        recipe="fp32",
        format="onnx",
        folder=str(folder),
        file=file.name,
        size_bytes=1,
        sha256="0",
        parameters=counted.parameters,
        nonzero_parameters=counted.parameters,
        rounded_to_zero=0,
        macs=counted.macs,
        input_size=(8, 8),
        class_names=(),
        placeholder_names=True,
        reference=str(folder),
        facts=vars(structure),
    )


CONV = {"w": np.ones((4, 3, 3, 3), np.float32)}
NORM = {
    "gamma": np.array([1, 2, 3, 4], np.float32),
    "beta": np.array([4, 3, 2, 1], np.float32),
    "mean": np.array([0.5, 1, 2, 3], np.float32),
    "variance": np.array([1, 2, 3, 4], np.float32),
}


def node(operator: str, inputs: str, output: str, **attributes: Any) -> Any:
    """A node that is named by its output."""
    return onnx.helper.make_node(
        operator, inputs.split(), [output], name=f"n_{output}", **attributes
    )


@pytest.mark.parametrize("runtime", EXPLAINING)
@pytest.mark.parametrize(("also", "least"), [("Identity", 0), ("Abs", 1)])
def test_a_batch_norm_that_cannot_be_folded_is_found(
    runtime: str, also: str, least: int, tmp_path: Path
) -> None:
    """Where somebody else reads the convolution's own output, the norm has to stand alone."""
    nodes = [
        node("Conv", "input w", "c", pads=[1, 1, 1, 1]),
        node("BatchNormalization", "c gamma beta mean variance", "b"),
        node("Relu", "b", "r"),
        *([node("Abs", "c", "a"), node("Add", "r a", "output")] if least else []),
        *([] if least else [node("Identity", "r", "output")]),
    ]
    artifact = model(tmp_path, nodes, {**CONV, **NORM})
    assert artifact.facts["behind_convolutions"] == ("n_b", "n_r")
    found = asked(Case(VARIANT, "fp32", runtime, 1), artifact, tmp_path)
    assert (found.unfused >= 1) == bool(least), found


def test_quantisers_without_an_integer_kernel_between_them_are_left(tmp_path: Path) -> None:
    """Quantising only to dequantise again: nothing runs in INT8, and it costs."""
    nodes = [
        node("Conv", "input w", "c", pads=[1, 1, 1, 1]),
        node("Tanh", "c", "t"),
        node("QuantizeLinear", "t s z", "q"),
        node("DequantizeLinear", "q s z", "d"),
        node("Erf", "d", "output"),
    ]
    artifact = model(tmp_path, nodes, {**CONV, "s": np.float32(0.1), "z": np.uint8(128)})
    assert artifact.facts["quantizers"] == ("n_q", "n_d")
    found = asked(Case(VARIANT, "fp32", "ort", 1), artifact, tmp_path)
    assert (found.quantize_nodes, found.macs) == (2, {"fp32": 4 * 64 * 27})


@pytest.mark.parametrize("runtime", available())
def test_the_registry_knows_who_explains(runtime: str) -> None:
    """A runtime that can't be asked costs no child: the table says so before one is started."""
    module = Path(*REGISTRY[runtime].module.split(".")).with_suffix(".py")
    text = (Path(__file__).parents[2] / module).read_text(encoding="utf-8")
    assert ("\ndef explain(" in text) == REGISTRY[runtime].explains


def test_a_runtime_without_the_function_is_no_explainer() -> None:
    """The protocol is told by the function."""
    assert not isinstance(adapter("null"), Explains)


def test_a_block_has_what_the_runtime_made_of_the_file(built: Built, tmp_path: Path) -> None:
    """Asked where the effort says so, and where a runtime can't tell, that is what is recorded."""
    artifact = built(VARIANT, "fp32", "onnx")
    effort = Effort(0.01, 1, logs=tmp_path, explain=True)
    block = run_block(Case(VARIANT, "fp32", "null", 1), 0, artifact, effort)
    assert block.execution == Execution(reason="null does not tell what it made of a file")
    if "ort" in available():
        block = run_block(Case(VARIANT, "fp32", "ort", 1), 0, artifact, effort)
        assert block.execution is not None and block.execution.macs == {"fp32": artifact.macs}
    unasked = Effort(0.01, 1, logs=tmp_path)
    assert run_block(Case(VARIANT, "fp32", "null", 1), 0, artifact, unasked).execution is None
