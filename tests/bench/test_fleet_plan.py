"""What a run on a cluster plans, and says before anything is built."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from bench import case as plans
from bench import files
from bench.command_line import parse
from bench.fleet_board import Board
from bench.kinds import kinds_of
from tests.bench.test_kinds import machine

pytest.importorskip("ray", reason="needs Ray: pip install 'deploybench[ray]'")

from bench import fleet


def test_it_says_what_is_left_out_as_a_run_on_one_machine_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once, however many kinds there are."""
    kinds = kinds_of([machine(1, "small"), machine(2, "large")])
    assert len(kinds) == 2
    said = io.StringIO()
    fitting = files.fitting
    misfits = {"vgg19": "no key fc.weight"}
    monkeypatch.setattr(files, "fitting", lambda *asked: fitting(*asked)._replace(misfits=misfits))
    monkeypatch.setattr(plans, "missing", lambda name: "not here" if name == "tract" else "")
    words = ["-m", "revisited-v6", "--runtimes", "all", "--recipes", "fp32", "--out", str(tmp_path)]
    planned, images = fleet._planned(kinds, parse(words), Board(Console(file=said, width=400)))
    assert images is None
    assert list(planned) == [kind.name for kind in kinds]
    lines = said.getvalue().splitlines()
    assert lines == [
        "tract: not here",
        "left out: vgg19, which these weights don't fit: no key fc.weight",
    ]
