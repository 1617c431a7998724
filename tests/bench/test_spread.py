"""A command for each variant, on a cluster."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest

from bench import spread
from bench.kinds import Node
from bench.spread import COMMANDS, Command, _variants, _Words, main


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


class MadeUp:
    """A cluster of this process; each errand is done, or lost, when its reply is asked for."""

    def __init__(self, by: str, lost: int = 0) -> None:
        self.by = by
        """The node that says it did everything."""
        self.lost = lost
        """How many errands are lost before one is done."""
        self.asked = 0

    def nodes(self) -> tuple[Node, ...]:
        """The one that was there at the beginning."""
        return (Node("first", "10.0.0.1", 2),)

    def on(self, node: Node, cpus: int, function: Any, *arguments: object) -> Answer:
        """Done here."""
        return Answer(lambda: function(*arguments))

    def anywhere(self, cpus: int, function: Any, *arguments: object) -> Answer:
        """Done here as well, by another name."""
        self.asked += 1
        return Answer(
            lambda: (self.by, function(*arguments)), lost=self.asked <= self.lost, number=self.asked
        )

    def first(self, replies: Iterable[Answer]) -> Answer:
        """The one that was asked for last."""
        return max(replies, key=lambda reply: reply.number)

    def keep(self, value: object) -> object:
        """Nothing travels."""
        return value


class Answer:
    """A reply of it."""

    def __init__(self, make: Callable[[], Any], lost: bool = False, number: int = 0) -> None:
        self.number = number
        self._make, self._lost = make, lost

    def get(self) -> Any:
        """As of a real one."""
        if self._lost:
            from bench.cluster import HostLost

            raise HostLost("made up")
        return self._make()


@pytest.fixture
def spread_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[MadeUp, str], tuple[int, Path]]:
    """``spread_on(cluster, variants, *words)``: the small command there; its code and folder."""
    pytest.importorskip("ray", reason="needs Ray: pip install 'deploybench[ray]'")
    from bench import cluster as module

    # Imported first, lest it keep what is put in the place of a cluster.
    importlib.import_module("bench.fleet")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    small = Command("tests.bench.small_errand", ("--variants",), ("--data",))
    monkeypatch.setattr(spread, "COMMANDS", {"train": small})
    monkeypatch.setattr(module, "fetch", lambda reference: reference)

    def start(
        cluster: MadeUp, variants: str, *words: str, before: Sequence[str] = ()
    ) -> tuple[int, Path]:
        monkeypatch.setattr(module, "connected", lambda _: contextlib.nullcontext(cluster))
        out = tmp_path / "out"
        asked = ["train", "--variants", variants, "--out", str(out), *words]
        return main(["--ray", "auto", *before, *asked]), out

    return start


def test_a_node_that_joins_late_may_do_a_variant(
    spread_on: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """What it wrote comes back as of any other."""
    code, out = spread_on(MadeUp(by="joined-late"), "vgg19,vgg19-gap")
    assert code == 0
    assert {path.name for path in out.iterdir()} == {"vgg19_tiny.txt", "vgg19-gap_tiny.txt"}
    told = capsys.readouterr().out
    assert "== vgg19-gap (exit code 0, by joined-l)\nwrote vgg19-gap_tiny.txt" in told


def test_what_ends_first_is_kept_first(spread_on: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever waits for an earlier one would lose it if the driver were ended."""
    spread_on(MadeUp(by="first"), "vgg19,vgg19-gap")
    told = capsys.readouterr().out
    assert told.index("== vgg19-gap") < told.index("== vgg19 ")


def test_the_same_command_goes_on(spread_on: Any) -> None:
    """What the folder has of a variant is there again; another variant's is not."""
    spread_on(MadeUp(by="first"), "vgg19,vgg19-gap")
    _, out = spread_on(MadeUp(by="first"), "vgg19")
    assert (out / "vgg19_tiny.txt").read_text() == "vgg19;vgg19;"
    assert (out / "vgg19-gap_tiny.txt").read_text() == "vgg19-gap;"


def test_a_lost_variant_is_begun_again(spread_on: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """On another machine, as often as it takes to see that no machine survives it."""
    code, out = spread_on(MadeUp(by="first", lost=2), "vgg19")
    assert code == 0
    assert (out / "vgg19_tiny.txt").read_text() == "vgg19;"
    assert capsys.readouterr().out.count("vgg19: made up; it is begun again") == 2
    cluster = MadeUp(by="first", lost=9)
    assert spread_on(cluster, "vgg19")[0] == 1
    assert cluster.asked == 3
    told = capsys.readouterr().err
    assert "vgg19: every machine that had it was lost, the last: made up" in told


@pytest.mark.parametrize("asked", ["3", "-1"])
def test_more_cpus_than_any_node_has_are_refused(
    spread_on: Any, capsys: pytest.CaptureFixture[str], asked: str
) -> None:
    """Ray would wait until such a node joins."""
    cluster = MadeUp(by="first")
    assert spread_on(cluster, "vgg19", before=("--cpus", asked))[0] == 2
    assert cluster.asked == 0
    assert f"--cpus {asked}: the largest node has 2" in capsys.readouterr().err


def test_the_worst_exit_code_is_the_command_s(spread_on: Any) -> None:
    """A killed training is no success."""
    assert spread_on(MadeUp(by="first"), "vgg19,vgg19-gap", "--code", "-9")[0] == 137
