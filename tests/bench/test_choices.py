"""Choice files: what is read back, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench import choices, files, scores
from bench.choices import Choice, Score
from bench.command_line import parse
from bench.options import UsageError
from export.build import Int8

CHOICE = Choice(
    variant="revisited-base",
    weights="cifar10",
    int8=Int8("percentile", 99.9, 64, keep_fp32=("Conv_0",)),
    data="cifar10.zip",
    max_drop=1.0,
    met_on_val=True,
    val=Score(images=100, fp32=75, int8=74, lost=3, gained=2),
)


WEIGHTS = {"revisited-base": "cifar10"}


def test_a_choice_is_read_as_it_was_written(tmp_path: Path) -> None:
    """And stands under its variant's and its weights' names."""
    choices.write(tmp_path / "new", CHOICE)
    path = tmp_path / "new" / "revisited-base@cifar10.json"
    assert choices.read(path) == CHOICE
    assert list((tmp_path / "new").iterdir()) == [path]
    assert choices.chosen(tmp_path / "new", WEIGHTS) == {"revisited-base": CHOICE}


def test_a_drop_is_in_points() -> None:
    """Of accuracy, not of what was right before."""
    score = Score(images=100, fp32=75, int8=74, lost=3, gained=2)
    assert score.drop == pytest.approx(1.0)
    assert str(score) == "74.00% of 100 right, -1 (-7 to +4) points against fp32"


def test_a_score_is_compared_as_rows_of_the_tables_are() -> None:
    """The same interval, the same test, the same smallest drop: two pages never disagree."""
    turned = Score(images=100, fp32=75, int8=74, lost=3, gained=2).turned
    row = scores.Paired(images=100, lost=3, won=2, same=90)
    assert turned.difference == row.difference
    assert (turned.p_value, turned.visible_drop) == (row.p_value, row.visible_drop)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda plain: plain | {"colour": "red"}, "colour: Unexpected"),
        (lambda plain: plain | {"int8": plain["int8"] | {"bits": 8}}, "int8.bits: Unexpected"),
        (lambda plain: plain | {"int8": plain["int8"] | {"method": "best"}}, "int8.method: Input"),
        (lambda plain: {k: v for k, v in plain.items() if k != "data"}, "data: .*required"),
    ],
)
def test_what_is_no_choice_is_refused(tmp_path: Path, change: Any, text: str) -> None:
    """An unknown key, a value that isn't one, a key too few: the file and the key are named."""
    choices.write(tmp_path, CHOICE)
    path = choices.path_of(tmp_path, "revisited-base", "cifar10")
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    with pytest.raises(UsageError, match=f"revisited-base@cifar10.json is no choice .*: {text}"):
        choices.chosen(tmp_path, WEIGHTS)


def test_a_folder_without_a_fitting_choice_is_refused(tmp_path: Path) -> None:
    """What it holds instead is said, and how to make one; one that fits is enough."""
    with pytest.raises(UsageError, match=r"\(revisited-base@cifar10.json\), but nothing; make"):
        choices.chosen(tmp_path, WEIGHTS)
    choices.write(tmp_path, CHOICE)
    with pytest.raises(UsageError, match=r"but revisited-base@cifar10.json; .* bench.search"):
        choices.chosen(tmp_path, {"revisited-base": "seeded"})
    both = {**WEIGHTS, "revisited-v6": "cifar10"}
    assert choices.chosen(tmp_path, both) == {"revisited-base": CHOICE}


def test_a_choice_reaches_the_builder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``--int8-choice`` sends what was chosen for each variant along with the other options."""
    choices.write(tmp_path, CHOICE)
    sent: list[Any] = []

    def exporter(request: bytes, root: Path | None) -> Any:
        sent.append(json.loads(request))
        raise files.BuildError("enough")

    monkeypatch.setattr(files, "_exporter", exporter)
    monkeypatch.setattr(files, "weights_name", lambda weights: "cifar10")
    options = parse(["--int8-choice", str(tmp_path), "--calibration-percentile", "99.9"])
    files.build_files([("revisited-base", "int8-static", "onnx")], options, lambda event: None)
    assert sent[0]["options"]["calibration_percentile"] == 99.9
    assert sent[0]["options"]["int8"]["revisited-base"]["percentile"] == 99.9
    assert sent[0]["options"]["int8"]["revisited-base"]["keep_fp32"] == ["Conv_0"]
