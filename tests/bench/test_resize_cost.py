"""What another resize filter costs: the table, the file, and who is asked what."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest

from bench import files, labelled, report, report_pages, report_sections, resize_cost
from bench import resize_table as tables
from bench.case import Case
from bench.record import Answers, Labelled, RecordError
from export.images import Preprocess

FP32 = Case("vgg19", "fp32", "ort", 2, weights="plants40")
STATIC = replace(FP32, recipe="int8-static")
LABELS = tuple(image % 4 for image in range(200))
PLANTS = Labelled("plants", "test", "f00d", tuple("abcd"), LABELS)
HEADER = tables.Header(
    tables.SCHEMA,
    "2026-01-02T10:00:00+00:00",
    "python -m bench.resize_cost --data plants",
    "abc1234",
    {"CPU": "one"},
    {"Pillow": "12.0.0"},
    PLANTS,
)


def answers(*wrong: int) -> Answers:
    """Right but for these images."""
    predicted = tuple((true + (i in wrong)) % 4 for i, true in enumerate(LABELS))
    return Answers(predicted, tuple(int(i in wrong) for i in range(len(LABELS))))


COST = tables.ResizeCost(
    HEADER,
    (
        tables.Line(STATIC, "bilinear", True, answers(*range(2, 14))),
        tables.Line(FP32, "bilinear", True, answers(*range(10))),
        tables.Line(FP32, "nearest", False, answers(*range(5, 35))),
        tables.Line(FP32, "lanczos", False, answers(*range(1, 10))),
    ),
)
SECTION = """\
## What another resize filter costs

- Command: `python -m bench.resize_cost --data plants`
- Asked: 2026-01-02T10:00:00+00:00, commit abc1234
- Versions: Pillow 12.0.0
- Accuracy: of 200 images in 4 classes: plants, split test (fingerprint f00d)

**Another resize filter, and INT8, against the same network in fp32 with its own filter**

| variant   | runtime   | what is changed    | from     |   top-1, %: as shipped |          changed |   same answer, % |   difference, points |   McNemar p |   could have shown a drop of |
|-----------|-----------|--------------------|----------|------------------------|------------------|------------------|----------------------|-------------|------------------------------|
| vgg19     | ort       | resized by nearest | bilinear |       95.0 (91.0–97.6) |       85 (79–90) |             85.0 |      -10 (-16 to -5) |      <0.001 |                   7.9 points |
| vgg19     | ort       | resized by lanczos | bilinear |       95.0 (91.0–97.6) | 95.5 (91.6–97.9) |             99.5 |  +0.5 (-1.4 to +2.8) |         1.0 |                   3.9 points |
| vgg19     | ort       | int8-static        | fp32     |       95.0 (91.0–97.6) |       94 (90–97) |             97.0 |  -1.0 (-4.2 to +1.8) |        0.69 |                   3.9 points |
"""  # noqa: E501


def test_whole_section() -> None:
    """Filters, then INT8, each against fp32 with its own filter; the page has it."""
    assert report_sections.resized_section(COST) + "\n" == SECTION
    assert SECTION.strip() in report_pages.pages([], COST)["README.md"]


def test_the_file_comes_back_as_it_was(tmp_path) -> None:
    """And without one there is nothing to say."""
    assert tables.read(tmp_path) is None
    assert report_sections.resized_section(None) == ""
    path = tmp_path / tables.PLACE
    path.parent.mkdir()
    path.write_bytes(tables.dumped(COST))
    assert tables.read(tmp_path) == COST


def test_a_file_of_the_first_schema_is_read(tmp_path) -> None:
    """It says nothing of what is assumed."""
    path = tmp_path / tables.PLACE
    path.parent.mkdir()
    text = tables.dumped(replace(COST, header=replace(HEADER, schema=1))).decode()
    path.write_text(text.replace(',"assumed":[]', ""), encoding="utf-8")
    found = tables.read(tmp_path)
    assert found is not None
    assert (found.header.schema, found.header.assumed, found.lines) == (1, (), COST.lines)


@pytest.mark.parametrize("text", ["", "{}\n", '{"schema": 1}\n', "not json\n"])
def test_a_file_of_somebody_else_is_a_sentence(tmp_path, text) -> None:
    """It is not overwritten in silence, nor does it become a table."""
    path = tmp_path / tables.PLACE
    path.parent.mkdir()
    path.write_text(text, encoding="utf-8")
    with pytest.raises(RecordError, match=r"resize.jsonl is no file of bench.resize_cost"):
        tables.read(tmp_path)


def test_another_schema_is_refused(tmp_path) -> None:
    """With both numbers."""
    path = tmp_path / tables.PLACE
    path.parent.mkdir()
    path.write_bytes(tables.dumped(replace(COST, header=replace(HEADER, schema=7))))
    with pytest.raises(RecordError, match="schema 7, but this version reads up to 2"):
        tables.read(tmp_path)


def test_each_file_is_asked_what_it_should_be(tmp_path, monkeypatch, capsys) -> None:
    """fp32 with every filter, its own first; INT8 with its own alone; all are on the page."""
    asked = []

    def answered(case, artifact, question, options) -> Answers:
        asked.append((case.recipe, question.preprocess.filter))
        return answers()

    images = labelled.Images(None, (), PLANTS)  # type: ignore[arg-type]
    preprocess = Preprocess((8, 8), filter="bicubic")
    misfits = {"vgg19": "it has other layers"}
    monkeypatch.setattr(files, "fitting", lambda cases, options: files.Fitting(cases, misfits))
    monkeypatch.setattr(files, "build", lambda *_: None)
    file = SimpleNamespace(placeholder_names=True, assumed_names=False)
    source = SimpleNamespace(artifact=file)
    monkeypatch.setattr(files, "sources", lambda cases, _: dict.fromkeys(cases, source))
    monkeypatch.setattr(labelled, "chosen", lambda *_: images)
    monkeypatch.setattr(labelled, "check", lambda *_: None)
    monkeypatch.setattr(labelled, "prepare", lambda *_: None)
    monkeypatch.setattr(
        labelled,
        "questions",
        lambda _, artifacts, options: labelled.Asked(
            {
                case: labelled.Question(images, preprocess, (0, 1, 2, 3), True, tmp_path)
                for case in artifacts
            },
            dict.fromkeys(artifacts, "revisited-v1 has 10 classes"),
            ("accuracy: it is assumed",),
        ),
    )
    monkeypatch.setattr(resize_cost, "_answers", answered)
    words = ["--variants", "revisited-base", "--data", "x", "--out", str(tmp_path)]
    assert resize_cost.main(words) == 0
    names = ("bicubic", "nearest", "bilinear", "lanczos")
    assert asked == [*(("fp32", name) for name in names), ("int8-static", "bicubic")]
    found = tables.read(tmp_path)
    assert found is not None
    assert [line.own for line in found.lines] == [True, False, False, False, True]
    assert str(tmp_path) not in found.header.command
    assert found.header.assumed == ("revisited-base",)
    told = capsys.readouterr().out
    assert "left out: vgg19, which these weights don't fit: it has other layers" in told
    assert told.count("not asked: revisited-v1 has 10 classes") == 1
    assert "accuracy: it is assumed" in told
    page = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "resized by nearest" in page
    assert "Assumed (`--folder-order`), not known: the weights of `revisited-base`" in page
    assert report.main(["--out", str(tmp_path), "--check"]) == 0


def test_help_is_its_own(capsys) -> None:
    """It goes by its own name and says that nothing is timed."""
    with pytest.raises(SystemExit):
        resize_cost.main(["--help"])
    told = " ".join(capsys.readouterr().out.split())
    assert told.startswith("usage: python -m bench.resize_cost")
    assert "Nothing is timed" in told


def test_a_folder_that_cant_be_written_is_a_sentence(tmp_path, capsys, monkeypatch) -> None:
    """What the system said of it."""

    def full(*_):
        raise OSError(28, "No space left on device", str(tmp_path))

    monkeypatch.setattr(resize_cost, "_measured", full)
    assert resize_cost.main(["--variants", "revisited-base", "--out", str(tmp_path)]) == 1
    assert "error: [Errno 28] No space left on device" in capsys.readouterr().err


def test_without_images_it_is_a_usage_error(tmp_path, capsys) -> None:
    """Seeded weights guess: there is nothing to lose."""
    words = ["--variants", "revisited-base", "--out", str(tmp_path), "--weights", "seeded"]
    assert resize_cost.main(words) == 2
    assert "--data: give labelled images" in capsys.readouterr().err
