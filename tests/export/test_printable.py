"""Foreign text on a terminal, and the one way in which commands tell their errors."""

from __future__ import annotations

from pathlib import Path

import pytest

from export.printable import complain, escaped, one_line, paragraph, printable

ROOT = Path(__file__).parents[2]
EVIL = "Own\x1b[31m\r\x9b1m\u202ea\tb\nc\udc80"


def test_nothing_moves_a_cursor() -> None:
    """Control characters, turns of writing and half characters; ends of lines where none may be."""
    assert printable(EVIL) == "Own\ufffd[31m\ufffd\ufffd1m\ufffda\ufffdb\ufffdc\ufffd"
    assert one_line(f" {EVIL} ") == "Own [31m 1m a b c"
    assert paragraph("a\x1b\nb\r") == "a\ufffd\nb\ufffd"
    assert escaped("a\x1b\u202e") == "a\\x1b\\u202e"
    for made in (printable(EVIL), one_line(EVIL), escaped(EVIL)):
        assert made.isprintable()


def test_ordinary_names_stay_as_they_are() -> None:
    """Of whatever script."""
    for name in ("Ocimum tenuiflorum", "Birkenblätter", "シロツメクサ", "a·b≈1 – x"):
        assert printable(name) == one_line(name) == paragraph(name) == escaped(name) == name


def test_an_error_moves_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """It may have several lines of ours."""
    complain(ValueError("no operator Own\x1b[31m\nknown are a, b"))
    assert capsys.readouterr().err == "error: no operator Own\ufffd[31m\nknown are a, b\n"


def test_every_command_tells_its_errors_so() -> None:
    """Whoever prints one by hand prints the names in a stranger's file as they are."""
    sources = [
        path for layer in ("bench", "export", "runtimes") for path in (ROOT / layer).rglob("*.py")
    ]
    by_hand = {
        path.relative_to(ROOT).as_posix()
        for path in sources
        if 'print(f"error: ' in path.read_text(encoding="utf-8")
    }
    # The second quotes a word of the command line by its repr().
    assert by_hand == {"export/printable.py", "bench/cli.py"}
