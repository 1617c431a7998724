"""``python -m bench.recommend`` over the committed records, its refusals and its forms."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from bench import constraints, recommend, recommend_figures
from bench.case import Case
from bench.constraints import Judgement
from bench.record import Recorder
from bench.stats import Estimate
from tests.bench.made_up import header, measured

RECORDS = Path(__file__).parents[2] / "results" / "records"
CIFAR = RECORDS / "default-d96c72d2.jsonl.gz"
XCEPTION = Path(__file__).parent / "kept" / "default-1afa3c53.jsonl.gz"
"""A run whose page is gone: INT8 that lost a little more than a point."""
DEFAULT = RECORDS / "default-a55469ce.jsonl.gz"


def answer(*words: object, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict]:
    """The exit code and the JSON document."""
    code = recommend.main([*map(str, words), "--json", "-"])
    return code, json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("words", "pick"),
    [
        # Of the rows over 75 % right (v6 and alpha) the one with the lowest p50 on the page.
        (("--min-accuracy", "75"), "revisited-v6@cifar10/int8-static/openvino/t2/b1"),
        # OpenVINO's processes take 105 MB and more, torch's 340: of ort's 66 MB ones, v6 in INT8.
        (
            ("--min-accuracy", "75", "--max-memory", "70MB"),
            "revisited-v6@cifar10/int8-static/ort/t2/b1",
        ),
        # Without a limit the baseline is fastest: 0.094 ms.
        ((), "revisited-base@cifar10/int8-static/openvino/t2/b1"),
        # The most right answers: alpha in fp32, 77.9 %; of the runtimes that answer alike, one.
        (("--prefer", "accuracy", "--runtimes", "ort"), "revisited-alpha@cifar10/fp32/ort/t2/b1"),
        # The smallest file of the only network that is surely so good: 77.7 (76.9–78.6) % in INT8.
        (("--prefer", "size", "--min-accuracy", "76.5"), "revisited-alpha@cifar10/int8-static"),
        (("--prefer", "load", "--min-accuracy", "75"), "revisited-v6@cifar10/fp32/ort/t2/b1"),
    ],
)
def test_picks_worked_out_by_hand_from_the_page(words, pick: str, capsys) -> None:
    """Of results/default-d96c72d2.md: the networks of "ResNet Revisited" on CIFAR-10."""
    code, found = answer("--records", CIFAR, *words, capsys=capsys)
    assert (code, found["pick"].startswith(pick)) == (0, True), found["pick"]


def test_an_accuracy_drop_that_the_images_leave_open_is_not_kept(capsys) -> None:
    """INT8 Xception lost 1.1 points on 730 images, -1.1 to +3.3: within 4, not surely within 2."""
    code, found = answer("--records", XCEPTION, "--max-accuracy-drop", 4, capsys=capsys)
    assert (code, found["pick"]) == (0, "xception@plants40/int8-static/openvino/t2/b1")
    code, found = answer("--records", XCEPTION, "--max-accuracy-drop", 2, capsys=capsys)
    assert (code, found["pick"]) == (0, "xception@plants40/fp32-opt/ort/t2/b1")
    assert found["undecided"] == [
        "xception@plants40/int8-static/openvino/t2/b1",
        "xception@plants40/int8-static/ort/t2/b1",
    ]
    assert found["without"]["--max-accuracy-drop"] == found["undecided"][0]


def test_the_constraint_nearest_to_being_met_is_named(capsys) -> None:
    """The smallest of these files has 20.68 MB: 1.03 times 20 MB."""
    words = ["--records", str(DEFAULT), "-m", "vgg19*", "--max-size", "20MB"]
    assert recommend.main(words) == 1
    text = capsys.readouterr().out
    assert "**Nothing keeps --max-size 20MB.**" in text
    assert "`vgg19-gap/int8-static/ort/t2/b1` does not keep --max-size 20MB (20.68 MB" in text
    assert "1.03 times the limit" in text


def test_three_for_what_is_undecided(capsys) -> None:
    """At 32.9 ms vgg19-gap in INT8 has too few samples for its p95."""
    words = ["--records", str(DEFAULT), "-m", "vgg19-gap", "--max-p95", "40ms"]
    assert recommend.main(words) == 3
    assert "not enough samples: " in capsys.readouterr().out


def test_the_table_says_what_beats_a_row_and_how_sure_that_is(capsys) -> None:
    """Of some hundred pairs at 95 % each not all are right."""
    assert recommend.main(["--records", str(CIFAR)]) == 0
    text = capsys.readouterr().out
    assert (
        "there is one that is no worse anywhere by the estimates and proven better somewhere, at "
        "95 % for each pair by itself: of many pairs some are so by chance."
    ) in text
    assert "beyond doubt" not in text


def test_rows_without_accuracy_are_told_and_not_picked(capsys) -> None:
    """Seeded weights have none: exit 1, and every row is named with the reason."""
    words = ["--records", str(DEFAULT), "-m", "vgg19-gap", "--max-accuracy-drop", "1"]
    assert recommend.main(words) == 1
    text = capsys.readouterr().out
    assert "--max-accuracy-drop 1 can't be kept: no accuracy: it was not asked" in text


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--records", DEFAULT], "answer different questions"),
        (["--records", CIFAR, "-m", "vgg19"], "--variants: nothing is called 'vgg19'"),
        (["--records", CIFAR, "--max-p95", "60"], "--max-p95 60 is not a time with its unit"),
        (["--records", "nowhere"], "nowhere"),
        (["--records", CIFAR, "--run", "default"], "--run picks among the runs of a folder"),
        (["--records", RECORDS.parent, "--run", "sing*"], "holds no run 'sing*'; there are: def"),
        (
            ["--records", RECORDS.parent, "--run", "default-a55469ce,full-476b1cac"],
            "differ in host",
        ),
    ],
    ids=["families", "variants", "unit", "folder", "file", "run", "hosts"],
)
def test_usage_is_two(words, complaint: str, capsys) -> None:
    """Whatever can't be answered is one sentence with what to do."""
    assert recommend.main(list(map(str, words))) == 2
    assert complaint in capsys.readouterr().err


def test_what_no_row_knows_can_not_be_preferred(capsys) -> None:
    """Seeded weights were asked about no labelled images: that is said, and not that none keeps."""
    words = ["--records", str(DEFAULT), "-m", "vgg19-gap", "--prefer", "accuracy"]
    assert recommend.main(words) == 2
    said = capsys.readouterr()
    assert "--prefer accuracy: no row knows its top-1; measure with labelled images" in said.err
    assert "--data" in said.err and not said.out


def test_an_end_is_not_rounded_onto_the_limit() -> None:
    """59.98 ms keep 60 ms and 60.02 do not: a reader must see on which side an end lies."""
    limit = constraints.parse("--max-p50", "60ms")
    for high, shown in ((0.05998, "59.98"), (0.06002, "60.02")):
        figure = Estimate(0.055, 0.05, high)
        text = recommend_figures.held(Judgement(limit, "met", figure))
        assert text == f"55 (50–{shown}) ms"


def test_the_newest_finished_run_of_a_folder_is_taken(tmp_path: Path, capsys) -> None:
    """As bench.compare does; another one by its name."""
    (tmp_path / "records").mkdir()
    for path in (CIFAR, XCEPTION):
        shutil.copy(path, tmp_path / "records")
    _, found = answer("--records", tmp_path, capsys=capsys)
    assert found["runs"] == ["default-1afa3c53"]
    _, found = answer("--records", tmp_path, "--run", "*d96*", capsys=capsys)
    assert found["runs"] == ["default-d96c72d2"]


def test_forms_are_written_beside_what_is_printed(tmp_path: Path, capsys) -> None:
    """The Markdown file holds what was printed, the JSON file the same pick."""
    words = ["--records", str(CIFAR), "--min-accuracy", "75"]
    files = {name: tmp_path / f"pick.{name}" for name in ("json", "markdown")}
    flags = [word for name, path in files.items() for word in (f"--{name}", str(path))]
    assert recommend.main([*words, *flags]) == 0
    text = capsys.readouterr().out
    assert files["markdown"].read_text("utf-8") == text
    assert f"**Ship `{json.loads(files['json'].read_text('utf-8'))['pick']}`**" in text


def test_a_name_from_outside_stays_text(tmp_path: Path, capsys) -> None:
    """A record that somebody sent may be called anything: its name opens no Markdown."""
    case = Case("vgg`19*[x](y)", "fp32", "ort", 2)
    with Recorder.open(tmp_path, header(cases=(case,))) as recorder:
        for block in measured(case, 1, 1, 1):
            recorder.append(block)
        recorder.finish()
    assert recommend.main(["--records", str(tmp_path)]) == 0
    assert "`vgg'19*[x](y)/fp32/ort/t2/b1`" in capsys.readouterr().out
