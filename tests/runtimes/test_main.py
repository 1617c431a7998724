"""``python -m runtimes``: a line a runtime, whatever its library does."""

from __future__ import annotations

import pytest

from runtimes import REGISTRY, __main__, available


def test_every_runtime_has_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Name and version, or how to get it; those that are there can be imported."""
    assert __main__.main([]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()[2:]}
    assert list(lines) == list(REGISTRY)
    for name, line in lines.items():
        assert REGISTRY[name].summary in line
        assert ("not installed" in line) == (name not in available())
        assert "can't be imported" not in line


def test_a_library_that_cannot_be_imported_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own last words stand in the line, and the others are listed all the same."""
    monkeypatch.setattr(__main__, "_ASK", "raise SystemExit('libfoo.so is missing')")
    assert __main__._instruction_sets("null") == "can't be imported: libfoo.so is missing"


def test_int8_is_named_where_a_recipe_makes_such_files() -> None:
    """Besides what a runtime can be told to compute an fp32 file in."""
    assert __main__.precisions("openvino") == ("fp32", "bf16", "int8")
    assert __main__.precisions("ncnn") == ("fp32", "bf16")
    assert __main__.precisions("null") == ("fp32",)
