"""The commands of docs/fleet.md, as they stand there, against a cluster that they start."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest

pytest.importorskip("ray", reason="needs Ray: pip install 'deploybench[ray]'")
pytest.importorskip("torch", reason="building needs torch: pip install 'deploybench[build]'")

pytestmark = pytest.mark.cluster

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "fleet.md").read_text(encoding="utf-8")
MARKED = re.compile(
    r"<!-- (?P<kind>commands|file): (?P<name>\S+) -->\n```\w+\n(?P<body>.*?)```", re.S
)
PARTS = {(found["kind"], found["name"]): found["body"] for found in MARKED.finditer(TEXT)}


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Mapping[str, str]]:
    """The environment of an empty folder; whatever was started there is ended."""
    for process in psutil.process_iter(["name", "status"]):
        if process.info["name"] == "raylet" and process.info["status"] != psutil.STATUS_ZOMBIE:
            pytest.skip("a Ray cluster runs on this machine, which `ray stop` would end")
    folders = (str(Path(sys.executable).parent), os.environ["PATH"])
    environment = {
        **os.environ,
        "PATH": os.pathsep.join(folders),
        "PYTHONPATH": str(ROOT),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "HOME": str(tmp_path),
    }
    yield environment
    stop = ["bash", "-c", PARTS["commands", "stop"]]
    subprocess.run(stop, env=environment, check=False, capture_output=True)


def test_from_an_empty_folder_to_what_to_rent(shell: Mapping[str, str], tmp_path: Path) -> None:
    """Start, measure two kinds, choose, stop: each says what the page says it would."""
    (tmp_path / "prices.toml").write_text(PARTS["file", "prices.toml"])

    def done(commands: str, *codes: int) -> str:
        ended = subprocess.run(
            ["bash", "-e", "-c", commands],
            cwd=tmp_path,
            env=shell,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert ended.returncode in (0, *codes), ended.stdout
        return ended.stdout

    # A reader has one shell, whose exports last.
    exports = "\n".join(re.findall(r"^export .*$", PARTS["commands", "cluster"], re.MULTILINE))

    def said(part: str, *codes: int) -> str:
        return done(f"{exports}\n{PARTS['commands', part]}", *codes)

    said("cluster")
    run = said("run")
    assert "are one machine" in run
    assert "2 kinds of machine" in run
    (page,) = (tmp_path / "fleet").glob("fleet-*.md")
    assert "### USD for a million images" in page.read_text()
    assert len(list((tmp_path / "fleet" / "records").glob("*.jsonl.gz"))) == 2
    # On a busy machine no row may be believed, and nothing is for rent: exit code 1.
    chosen = said("choose", 1)
    assert "| large  |" in chosen
    assert "the cheapest that keeps --max-p50 5ms" in chosen or "**Nothing to rent**" in chosen
    said("stop")
