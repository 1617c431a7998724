"""Children that die with whoever started them."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from bench import search_tools
from bench.command_line import parse
from export import run
from export.build import Int8
from export.tied import tied
from tests.bench.dying import child_of_the_killed, gone
from tests.bench.made_up import fake_artifact

LINGER = "import os, pathlib, signal; p = pathlib.Path({0!r}); t = p.with_suffix('.tmp'); "
LINGER += "t.write_text(str(os.getpid())); t.rename(p); signal.pause()"


class Refused(Exception):
    """Nothing is started."""


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Sequence[str]]:
    """The commands of children, which are not started."""
    seen: list[Sequence[str]] = []

    def popen(words: Sequence[str], **_: object) -> None:
        seen.append(words)
        raise Refused

    monkeypatch.setattr(subprocess, "Popen", popen)
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    return seen


def test_without_the_tool_a_child_is_started_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is then ended by whoever started it, where that ends in order."""
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert tied() == ()


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="this needs setpriv (util-linux)")
def test_an_exporter_dies_with_whoever_asked_for_files(tmp_path: Path) -> None:
    """It is in a session of its own, and would build on beside what is measured next."""
    file = tmp_path / "pid"
    code = (
        "import sys\n"
        "from bench import files\n"
        f"files.COMMAND = (sys.executable, '-c', {LINGER.format(str(file))!r})\n"
        "with files._exporter(b'', None) as process:\n"
        "    process.wait()\n"
    )
    assert gone(child_of_the_killed(code, file))


def test_so_does_what_an_exporter_starts(tmp_path: Path, started: list[Sequence[str]]) -> None:
    """It holds a network in memory."""
    with pytest.raises(Refused):
        run._child(["check"], b"", tmp_path / "log", lambda line: None)
    assert started[0][: len(tied())] == list(tied())
    assert "export.steps" in started[0]


def test_so_does_what_ranks_layers(tmp_path: Path, started: list[Sequence[str]]) -> None:
    """A search on a cluster may lose its worker at any moment."""
    options = parse(["--data", str(tmp_path)])
    with pytest.raises(Refused):
        search_tools.rank(fake_artifact(tmp_path), Int8(), options, lambda text: None)
    assert started[0][: len(tied())] == list(tied())
    assert "export.sensitivity" in started[0]
