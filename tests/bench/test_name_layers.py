"""Names for the layers that older choices blame: from the network's own fp32 file."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import choices, name_layers
from bench.choices import Blamed, Choice
from bench.options import UsageError
from export.build import Int8

CHOICE = Choice(
    *("revisited-base", "cifar10", Int8(keep_fp32=("Conv_0",)), "cifar10", 1.0),
    blamed=(Blamed("Conv_0", 0.25), Blamed("Gemm_5", 0.125)),
)


def test_every_layer_gets_its_name() -> None:
    """And the nodes keep theirs: they are what the quantiser is told."""
    names = {"Conv_0": "stem", "Gemm_5": "fc", "Conv_7": "other"}
    found = name_layers.named(CHOICE, names, Path("f.onnx"))
    assert [(one.name, one.layer) for one in found.blamed] == [("Conv_0", "stem"), ("Gemm_5", "fc")]
    assert found.int8 == CHOICE.int8 and found.layer("Conv_0") == "stem"


def test_another_networks_file_is_refused() -> None:
    """The file, the node and the variant are named."""
    with pytest.raises(UsageError, match=r"f.onnx has no layer Gemm_5, .* for revisited-base"):
        name_layers.named(CHOICE, {"Conv_0": "stem"}, Path("f.onnx"))


def test_the_command_writes_the_choice_anew(tmp_path: Path, capsys, monkeypatch) -> None:
    """In its place; a file that can't be read is a sentence, and leaves it as it was."""
    choices.write(tmp_path, CHOICE)
    path = choices.path_of(tmp_path, "revisited-base", "cifar10")
    monkeypatch.setattr(name_layers, "layers", lambda file: {"Conv_0": "stem", "Gemm_5": "fc"})
    assert name_layers.main([str(path), "f.onnx"]) == 0
    assert capsys.readouterr().out == "Conv_0 is stem, Gemm_5 is fc\n"
    assert [one.layer for one in choices.read(path).blamed] == ["stem", "fc"]
    monkeypatch.setattr(name_layers, "layers", lambda file: {})
    before = path.read_bytes()
    assert name_layers.main([str(path), "f.onnx"]) == 2
    assert "f.onnx has no layer Conv_0, Gemm_5" in capsys.readouterr().err
    assert path.read_bytes() == before


def test_what_is_no_onnx_file_is_told_in_the_childs_words(tmp_path: Path) -> None:
    """The child that reads it ends with a sentence."""
    pytest.importorskip("onnxruntime")
    with pytest.raises(UsageError, match=r"none.onnx: its layers can't be read: .*none.onnx"):
        name_layers.layers(tmp_path / "none.onnx")
