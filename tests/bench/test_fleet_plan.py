"""What a run on a cluster plans, and says before anything is built."""

from __future__ import annotations

import io
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest
from rich.console import Console

from bench import case as plans
from bench import files
from bench.command_line import parse
from bench.fleet_board import Board
from bench.kinds import Kind, kinds_of
from bench.options import UsageError
from bench.record import Fleet, Recorder, find_runs
from tests.bench.made_up import header
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


def recorded(found: Sequence[Kind], out: Path, *words: str) -> list[str]:
    """The names under which the kinds are recorded."""
    options = parse(["-m", "revisited-v6", "--runtimes", "ort", "--out", str(out), *words])
    planned, images = fleet._planned(found, options, Board(Console(file=io.StringIO())))
    with ExitStack() as stack:
        running = fleet._recorders(found, planned, options, words, images, None, stack)
        return [one.recorder.header.run for one in running]


def test_kinds_that_differ_in_their_cores_alone_have_a_record_each(tmp_path: Path) -> None:
    """However many threads were asked for: the second one would replace the first."""
    found = kinds_of([machine(1), machine(2, cpus=2)])
    words = ("--recipes", "fp32", "--ray", "auto")
    assert len(set(recorded(found, tmp_path / "own", *words))) == 2
    assert len(set(recorded(found, tmp_path / "same", *words, "-t", "1"))) == 2
    assert len(find_runs(tmp_path / "same")) == 2


def test_a_machine_that_is_there_again_is_not_lost(tmp_path: Path) -> None:
    """One that stays away still is, and both are machines of the record."""
    known = Fleet("f", "small", ("aaaaaaaa", "bbbbbbbb"), lost={"aaaaaaaa": "x", "bbbbbbbb": "y"})
    with Recorder.open(tmp_path, header(fleet=known)) as recorder:
        fleet._join(recorder, Fleet("f", "small", ("aaaaaaaa",)))
        joined = recorder.header.fleet
    assert joined is not None
    assert joined.lost == {"bbbbbbbb": "y"}
    assert joined.machines == ("aaaaaaaa", "bbbbbbbb")


def test_two_kinds_never_share_a_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever their names are made of; who has them is told what to do."""
    found = kinds_of([machine(1, "small"), machine(2, "large")])
    monkeypatch.setattr("bench.header.header", lambda *_: header(run="default-1"))
    with pytest.raises(UsageError, match=r"small and large would have the same record, default-1"):
        recorded(found, tmp_path, "--recipes", "fp32", "--ray", "auto")
