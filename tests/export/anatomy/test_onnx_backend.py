"""Graphs of all kinds, as the onnx package brings them along for those who write backends."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from export.adopt import describe
from export.anatomy.examine import examine
from export.anatomy.show import show
from export.given import GivenError, Said, variant
from tests.export.anatomy.graphs import refusal

DATA = Path(onnx.__file__).parent / "backend" / "test" / "data"
LARGEST_BYTES = 1 << 20
FILES = sorted(x for x in DATA.rglob("*.onnx") if x.stat().st_size < LARGEST_BYTES)
CLASSIFIERS = {
    "bvlc_alexnet": None,
    "densenet121": 2.83,
    "inception_v1": None,
    "inception_v2": None,
    "resnet50": 4.09,
    "shufflenet": None,
    "squeezenet": 0.35,
    "vgg19": 19.63,
    "zfnet512": None,
}
"""Classifiers of 1000 classes, their weights made by nodes; 1e9 multiply-accumulates of an image
as torchvision's documentation of the same networks has them, where it has (under GFLOPS)."""


def test_every_graph_is_examined_or_refused():
    """Operators and inputs of any kind: a result, or the one error that names the file."""
    assert len(FILES) > 100
    for file in FILES:
        assert file.name in (refusal(file) or file.name)


@pytest.mark.slow
def test_every_operator_is_examined_or_refused(tmp_path):
    """The package's models of one node each, for all operators; it makes them when asked."""
    from onnx.backend.test.case.node import collect_testcases

    models = [case.model for case in collect_testcases(None) if case.model is not None]
    assert len(models) > 1000
    file = tmp_path / "node.onnx"
    for model in models:
        file.write_bytes(model.SerializeToString())
        assert file.name in (refusal(file) or file.name)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_classifiers_have_the_whole_table(name, capsys):
    """Every convolution and product has a line with its work, and the sum is the known one."""
    file = DATA / "light" / f"light_{name}.onnx"
    found = examine(file)
    contents = found.contents
    working = [node for node in onnx.load(file).graph.node if node.op_type in ("Conv", "Gemm")]
    layers = [layer for layer in contents.layers if layer.macs]
    assert [layer.kind for layer in layers] == [node.op_type for node in working]
    known = CLASSIFIERS[name]
    assert known is None or contents.macs == pytest.approx(known * 1e9, rel=0.005)
    show(found, 0)
    text = capsys.readouterr().out
    assert "no multiply-accumulates" not in text and "others" not in text
    assert "old-opset" in {one.code for one in found.findings}


def given_or_refused(file: Path) -> bool:
    """Whether a file can be measured, by all that can be said of it; else it gets a sentence."""
    told = Said(preset="torch", resize="squash", filter="bilinear")
    reason = ""
    try:
        assert variant(describe(file), told, Said()).given is not None
    except GivenError as exc:
        reason = str(exc)
    assert not reason or (file.name in reason and len(reason.split()) > 3), reason
    return not reason


def test_every_graph_can_be_measured_or_is_refused():
    """Whatever its operators, inputs and outputs: a variant, or the one error, with its name."""
    usable = [file.stem for file in FILES if given_or_refused(file)]
    assert {f"light_{name}" for name in CLASSIFIERS} <= set(usable)
    assert len(usable) < len(FILES)


@pytest.mark.slow
def test_every_operator_can_be_measured_or_is_refused(tmp_path):
    """The package's models of one node each are given as files, too."""
    from onnx.backend.test.case.node import collect_testcases

    file = tmp_path / "node.onnx"
    for case in collect_testcases(None):
        if case.model is not None:
            file.write_bytes(case.model.SerializeToString())
            given_or_refused(file)
