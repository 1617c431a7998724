"""A file of the user's from the first command to the last: run, recommend, ship, verify."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

from bench import bundle, peaks, recommend, run, ship, verify
from bench.record import Peaks, find_runs, read_run
from tests.conftest import Built

pytestmark = pytest.mark.usefixtures("given_models_forgotten")

CLASSES = [f"leaf {number}" for number in range(10)]
TOLD = ("--preset", "tf", "--resize", "crop", "--first", "0", "--filter", "bicubic")


class Own(NamedTuple):
    """A file, its classes in their order, what has to be said of it, and the recipes to measure."""

    file: Path
    classes: list[str]
    told: tuple[str, ...]
    recipes: str = "fp32,int8-static"


def ours(folder: Path, built: Built) -> Own:
    """One of our own variants as a file: it says all that is needed."""
    artifact = built("revisited-base", "fp32", "onnx")
    return Own(
        Path(shutil.copy(artifact.path, folder / "own.onnx")), list(artifact.class_names), ()
    )


def channels_last(folder: Path, built: Built) -> Own:
    """As tf2onnx writes it, of an old opset, without names: the folders have them."""
    from tests.export.given_files import keras_like

    file = keras_like(folder / "old.onnx", opset=11)
    return Own(file, CLASSES, (*TOLD, "--folder-order"))


def in_two_files(folder: Path, built: Built) -> Own:
    """With its weights beside it, which go wherever it goes."""
    from tests.export.given_files import keras_like

    metadata = {"classes": json.dumps(CLASSES)}
    file = keras_like(folder / "outside.onnx", external=True, metadata=metadata)
    return Own(file, CLASSES, TOLD, "fp32")


def pictures(folder: Path, classes: list[str]) -> Path:
    """Four small ones for each class."""
    chance = np.random.default_rng(0)
    for name in classes:
        (folder / name).mkdir(parents=True)
        for number in range(4):
            pixels = chance.integers(0, 256, (36, 36, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return folder


@pytest.fixture
def _without_peaks(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the host reaches at most is no part of the chain, and takes as long as the rest."""
    monkeypatch.setattr(peaks, "measure", lambda threads, *more: Peaks(threads, {}, 0.0))


@pytest.mark.slow
@pytest.mark.usefixtures("_without_peaks")
@pytest.mark.parametrize(
    "made",
    [
        pytest.param(ours, marks=pytest.mark.long),
        channels_last,
        pytest.param(in_two_files, marks=pytest.mark.long),
    ],
)
def test_a_given_file_goes_through_all_commands(
    made: Callable[[Path, Built], Own],
    tmp_path: Path,
    built: Built,
    store_folder: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Measured and judged; told as a row that may be picked; packed with its class names; and every
    hash of the bundle is found again, that of the given file among them."""
    pytest.importorskip("onnxruntime")
    own = made(tmp_path, built)
    data = pictures(tmp_path / "data", own.classes)
    out, packed, store = tmp_path / "out", tmp_path / "bundle", str(store_folder)
    words = ["--model", str(own.file), "--data", str(data), *own.told, "--recipes", own.recipes]
    plan = ["--quick", "--blocks", "3", "--seconds", "0.05", "--runtimes", "ort", "-t", "1"]
    assert run.main([*words, *plan, "--out", str(out), "--store", store]) == 0

    (path,) = find_runs(out)
    rows = {str(one.case): one for one in read_run(path).measurements if not one.case.copy}
    names = [name for name in rows if "/null/" not in name]
    assert len(names) == len(own.recipes.split(","))
    assert all(row.answers for name, row in rows.items() if name in names and row.round == 0)

    # A busy machine's rows may be INVALID: each is told all the same.
    recommend.main(["--records", str(out), "--json", str(tmp_path / "pick.json")])
    told = json.loads((tmp_path / "pick.json").read_text())
    assert {row["row"] for row in told["rows"]} | set(told["left_out"]) == set(names)

    where = ["--records", str(out), "--store", store]
    assert ship.main([names[-1], str(packed), *where, "--force"]) == 0
    found = bundle.read(packed)
    assert (list(found.model.classes), found.model.placeholder_names) == (own.classes, False)
    assert f"those of the given file {own.file.name}" in (packed / "README.md").read_text()

    line = [str(packed), "--no-measure", "--store", store]
    assert verify.main([*line, "--model", str(own.file)]) == 0
    assert "self-test: ok: 4 images" in capsys.readouterr().out
    with own.file.open("ab") as stream:
        stream.write(b"\x32\x05other")  # another doc_string
    assert verify.main([*line, "--model", str(own.file)]) == 1
