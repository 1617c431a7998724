"""A command for each variant, on a cluster."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import spread
from bench.spread import COMMANDS, _variants, _Words, main


def test_flags_are_taken_with_their_values() -> None:
    """However they are written; the rest stays as it was, in its order."""
    words = _Words(["--", "--variants", "a,b", "--lr", "1", "--data=x.zip", "--half"])
    assert words.taken("-m", "--variants") == "a,b"
    assert words.taken("--data") == "x.zip"
    assert words.taken("--out") == ""
    assert words.left == ["--lr", "1", "--half"]


def test_every_variant_is_a_task() -> None:
    """Patterns are resolved here, so that each is named once."""
    words = _Words(["--variants", "revisited-v*,vgg19-gap"])
    assert _variants(COMMANDS["train"], words) == (
        "vgg19-gap",
        *(f"revisited-v{number}" for number in range(1, 7)),
    )


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["train", "--data", "x.zip", "--out", "o"], "--variants is missing"),
        (["train", "--variants", "vgg91", "--out", "o"], "did you mean vgg19"),
        (["train", "--variants", "vgg19"], "--out is missing"),
    ],
)
def test_what_is_missing_is_told_before_anything_starts(
    words: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """No cluster is asked for."""
    pytest.importorskip("ray", reason="needs Ray: pip install 'deploybench[ray]'")
    assert main(["--ray", "127.0.0.1:1", *words]) == 2
    assert complaint in capsys.readouterr().err


def test_without_ray_it_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The extra by its name."""
    monkeypatch.setattr(spread.importlib.util, "find_spec", lambda name: None)  # type: ignore[attr-defined]
    assert main(["--ray", "auto", "train", "--variants", "vgg19", "--out", "o"]) == 2
    assert "pip install 'deploybench[ray]'" in capsys.readouterr().err


def test_a_folder_s_own_name_is_no_flag(tmp_path: Path) -> None:
    """A value may look like one."""
    words = _Words(["--out", str(tmp_path), "--name", "--odd"])
    assert words.taken("--out") == str(tmp_path)
    assert words.left == ["--name", "--odd"]
