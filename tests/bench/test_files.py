"""Asking ``export`` for files: what comes back, and what a user is told."""

from __future__ import annotations

import json
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench import files
from bench.case import plan
from bench.command_line import parse
from bench.options import Options, UsageError

SMALL = ["--variants", "revisited-v6", "--runtimes", "ort", "--recipes", "fp32", "-t", "1"]
SHARED = Path(__file__).parents[2].parent / "shared"
Speak = Callable[..., None]


@pytest.fixture
def speak(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Speak:
    """``speak(lines, code)``: let an exporter answer these lines and end with this exit code."""

    def set_up(lines: list[dict[str, object]], code: int = 0, complaint: str = "") -> None:
        script = tmp_path / "exporter.py"
        text = "".join(json.dumps(line) + "\n" for line in lines)
        script.write_text(
            f"import sys\nsys.stdout.write({text!r})\nsys.stderr.write({complaint!r})\n"
            f"sys.exit({code})\n"
        )
        python = sys.executable
        monkeypatch.setattr(files, "COMMAND", (python, str(script)))

    return set_up


def ask(options: Options, seen: list[files.Event] | None = None) -> files.Files:
    """Build for the small plan."""
    shown = [] if seen is None else seen
    return files.build(plan(options), options, shown.append)


def test_a_failure_is_a_reason(speak: Speak) -> None:
    """What could not be built comes back as a sentence, not as an exception."""
    wanted = {"variant": "revisited-v6", "recipe": "fp32", "format": "onnx"}
    speak([{"kind": "failed", "wanted": wanted, "text": "to-onnx: it crashed"}], code=1)
    answer = ask(parse(SMALL))
    assert answer.reasons == {("revisited-v6", "fp32", "onnx"): "to-onnx: it crashed"}


def test_a_converters_refusal_is_told_from_a_failure(speak: Speak) -> None:
    """The row then reads unsupported."""
    wanted = {"variant": "revisited-v6", "recipe": "fp32", "format": "onnx"}
    said = {"kind": "failed", "wanted": wanted, "text": "to-onnx: it can't be"}
    speak([said | {"refused": True}], code=1)
    assert ask(parse(SMALL)).refused == {("revisited-v6", "fp32", "onnx")}
    speak([said], code=1)
    assert not ask(parse(SMALL)).refused


def test_a_file_of_which_nothing_is_heard_is_a_reason_too(speak: Speak) -> None:
    """An exporter that ends early leaves no case without an answer."""
    speak([])
    assert ask(parse(SMALL)).reasons == {
        ("revisited-v6", "fp32", "onnx"): "the build ended before this file was made"
    }


@pytest.mark.parametrize(
    ("code", "complaint", "how"),
    [
        (
            1,
            "Traceback (most recent call last):\nMemoryError: no\n",
            "exit code 1: MemoryError: no",
        ),
        (3, "error: disk full\n", "exit code 3: disk full"),
    ],
)
def test_an_exporter_that_crashes_is_the_reason(
    speak: Speak, code: int, complaint: str, how: str
) -> None:
    """The last line that it said stands in the rows of what it did not build."""
    speak([], code, complaint)
    (reason,) = ask(parse(SMALL)).reasons.values()
    assert reason == f"python -m export.run ended with {how}"


def test_a_store_that_cannot_be_written_is_a_reason(tmp_path: Path) -> None:
    """--store below a file: a sentence in the row, no traceback."""
    (tmp_path / "file").write_text("")
    (reason,) = ask(parse([*SMALL, "--store", str(tmp_path / "file" / "s")])).reasons.values()
    assert "Not a directory" in reason


def test_events_are_shown_as_they_come(speak: Speak) -> None:
    """Progress reaches the person in front, step by step."""
    wanted = {"variant": "revisited-v6", "recipe": "fp32", "format": "onnx"}
    speak([{"kind": "building", "wanted": wanted, "text": "to-onnx"}])
    seen: list[files.Event] = []
    ask(parse(SMALL), seen)
    assert [(event.kind, event.text) for event in seen] == [("building", "to-onnx")]


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    """--data that holds no image is a usage error that names the folder."""
    (tmp_path / "empty").mkdir()
    options = parse([*SMALL, "--data", str(tmp_path / "empty"), "--store", str(tmp_path / "s")])
    with pytest.raises(UsageError, match="empty"):
        ask(options)


def test_a_zip_that_climbs_out_is_refused(tmp_path: Path) -> None:
    """A member whose name leads out of the archive is named; nothing is extracted."""
    path = tmp_path / "bad.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("../../evil/1.png", b"x")
    options = parse([*SMALL, "--data", str(path), "--store", str(tmp_path / "s")])
    with pytest.raises(UsageError, match=r"evil/1\.png"):
        ask(options)
    assert not (tmp_path.parent / "evil").exists()


def test_a_users_images_calibrate_and_check(tmp_path: Path) -> None:
    """Class folders take the place of the sample photographs; one bad file is left out, counted."""
    pytest.importorskip("torch", reason="building needs deploybench[build]")
    for number in range(8):
        for name, colour in (("lily", (200, number, 90)), ("rose", (10, 30 * number, 250))):
            folder = tmp_path / "images" / "train" / name
            folder.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (48, 40), colour).save(folder / f"{number}.png")
    (tmp_path / "images" / "train" / "rose" / "7.png").write_bytes(b"not an image")
    words = ["--variants", "revisited-v6", "--runtimes", "ort", "--recipes", "int8-static"]
    data = ["--data", str(tmp_path / "images"), "--store", str(tmp_path / "s"), "-t", "1"]
    seen: list[files.Event] = []
    answer = ask(parse([*words, *data]), seen)
    assert answer.reasons == {}
    assert len(answer.artifacts) == 1
    notes = [event.text for event in seen if event.kind == "note"]
    assert "1 of 12 images left out as unreadable: train/rose/7.png" in notes
    (artifact,) = answer.artifacts.values()
    assert (
        len(np.load(Path(artifact.reference) / "inputs.npy")) == 11
    )  # two of each class are for judging


def test_missing_weights_are_refused(tmp_path: Path) -> None:
    """--weights that name no file: the file is named, nothing is built."""
    pytest.importorskip("torch", reason="reading weights needs deploybench[build]")
    absent = str(tmp_path / "absent.safetensors")
    options = parse([*SMALL, "--weights", absent, "--store", str(tmp_path / "s")])
    with pytest.raises(UsageError, match=r"absent\.safetensors"):
        files.fitting(plan(options), options)


def test_what_weights_know_is_read_only_beside_labels(tmp_path: Path) -> None:
    """Their classes, without a build; without labelled images nobody is asked."""
    pytest.importorskip("safetensors", reason="reading weights needs deploybench[build]")
    words = [*SMALL, "--store", str(tmp_path / "s")]
    labels = ["--data", str(tmp_path)]
    for more in ([], [*labels, "--accuracy", "none"], [*labels, "--weights", "seeded"]):
        options = parse([*words, *more])
        assert files.fitting(plan(options), options).weights == {}
    options = parse([*words, *labels])
    cases, misfits, weights = files.fitting(plan(options), options)
    assert (cases, misfits) == (plan(options), {})
    assert weights["revisited-v6"].class_names[:2] == ("airplane", "automobile")
    assert not list((tmp_path / "s").glob("revisited*"))


def test_weights_narrow_the_plan_to_what_they_fit(tmp_path: Path) -> None:
    """Trained weights choose the variants that they fit; a named other one is refused."""
    pytest.importorskip("torch", reason="reading weights needs deploybench[build]")
    checkpoint = SHARED / "checkpoints" / "vgg19-gap_plants40.safetensors"
    if not checkpoint.exists():
        pytest.skip(f"no trained weights at {checkpoint}")
    base = ["--weights", str(checkpoint), "--store", str(tmp_path / "s"), "-t", "1"]
    options = parse([*base, "--variants", "vgg19-*,revisited-b*"])
    cases, misfits, _ = files.fitting(plan(options), options)
    assert "revisited-base" in misfits
    assert {case.variant for case in cases} == {"vgg19-gap"}
    assert "null" in {case.runtime for case in cases}
    assert {case.weights for case in cases} == {"plants40"}
    options = parse([*base, "--variants", "revisited-base"])
    with pytest.raises(UsageError, match=r"don't fit revisited-base: .*(key|shape)"):
        files.fitting(plan(options), options)
