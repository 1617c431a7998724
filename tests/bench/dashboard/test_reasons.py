"""What the page's users are told of a failure."""

from __future__ import annotations

import pytest

from bench.dashboard.reasons import mistake, plain, shown


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("Load model from /root/.cache/a b/model.onnx failed", None),
        ("Load model from /root/.cache/ab/model.onnx failed", "Load model from model.onnx failed"),
        ("No such file: '/srv/my models/leaves.toml'", "No such file: 'leaves.toml'"),
        ("exit code 3 (its output: /tmp/x/a_b.log) during warm", "exit code 3 during warm"),
        ("/opt/a/b.onnx: damaged, and/or cut at 1/2", "b.onnx: damaged, and/or cut at 1/2"),
        ("see https://example.org/a/b.html", "see https://example.org/a/b.html"),
        ("trained/leaves.onnx is none", "trained/leaves.onnx is none"),
    ],
)
def test_folders_of_the_server_are_not_told(reason: str, expected: str | None) -> None:
    """Of a path the last part is left, which says what it is about; all else stays."""
    if expected is not None:
        assert plain(reason) == expected
    assert "/root" not in plain(reason)


def test_what_has_no_words_is_told_by_its_kind() -> None:
    """Nothing is shown as an empty reason."""
    assert shown(MemoryError()) == "MemoryError"
    assert "ZeroDivisionError: by /a" not in mistake(ZeroDivisionError("by /a/b"))
    assert mistake(ZeroDivisionError("by zero")).endswith("(ZeroDivisionError: by zero)")
