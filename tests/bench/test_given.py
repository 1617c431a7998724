"""``--model``: a file of the user's through the whole of ``bench.run``."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bench import field as fields
from bench import given, more, run
from bench.case import Case, file_format, plan, unsupported
from bench.command_line import parse
from bench.options import UsageError, parse_size
from bench.record import Run, find_runs, read_run
from export.given import Described, Port
from export.variants import OWN, VARIANTS
from tests.bench.made_up import measured

pytestmark = pytest.mark.usefixtures("given_models_forgotten")

TOLD = ["--preset", "torch", "--resize", "squash", "--filter", "bilinear"]


@pytest.fixture
def described(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the reader says of any file; to be changed by a test."""
    said: dict[str, Any] = {
        "size_bytes": 10,
        "opset": 13,
        "inputs": (Port("image", "float", (None, 16, 16, 3)),),
        "outputs": (Port("probs", "float", (None, 10)),),
    }

    def describe(file: Path) -> Described:
        return Described(file=str(file), sha256=file.name.encode().hex() * 4, **said)

    monkeypatch.setattr(given, "describe", describe)
    return said


def planned(tmp_path: Path, *words: str, names: tuple[str, ...] = ("leaf.onnx",)) -> list[Case]:
    """The cases of a run with some models, ``null`` left out."""
    for name in names:
        (tmp_path / name).write_bytes(b"")
    models = ",".join(str(tmp_path / name) for name in names)
    options = given.opened(parse(["--model", models, *TOLD, "-t", "1", *words]))
    return [case for case in plan(options) if case.runtime != "null"]


def test_a_model_gets_every_recipe_and_runtime_that_needs_no_code(
    tmp_path: Path, described: dict[str, Any]
) -> None:
    """Those whose chain can begin with an .onnx file, and no others, unless they are named."""
    cases = planned(tmp_path, "--runtimes", "ort,torch-eager,openvino,ncnn,litert,mnn")
    assert {case.runtime for case in cases} == {"ort", "openvino", "ncnn", "mnn"}
    assert {case.variant for case in cases} == {"leaf.onnx"}
    assert {"fp32", "fp32-opt", "int8-dynamic", "int8-static"} <= {case.recipe for case in cases}
    assert str(cases[0]) == "leaf.onnx@own/fp32/ort/t1/b1"
    assert {case.family for case in cases} == {OWN}
    (named,) = planned(tmp_path, "--runtimes", "torch-eager", "--recipes", "fp32")
    assert file_format(named) is None
    assert unsupported(named) == (
        "torch-eager opens pt2, which no .onnx file can be turned into here"
    )


def test_models_can_be_compared_with_one_another_and_with_variants(
    tmp_path: Path, described: dict[str, Any]
) -> None:
    """Two files stand in one table; -m adds built-in variants beside them."""
    words = ("--runtimes", "ort", "--recipes", "fp32")
    two = planned(tmp_path, *words, names=("a.onnx", "b.onnx"))
    assert [case.variant for case in two] == ["a.onnx", "b.onnx"]
    more = planned(tmp_path, "-m", "revisited-v6", *words, names=("a.onnx",))
    assert {case.variant for case in more} == {"a.onnx", "revisited-v6"}


def test_a_fixed_batch_is_a_reason(tmp_path: Path, described: dict[str, Any]) -> None:
    """And says which batch can be measured."""
    described["inputs"] = (Port("image", "float", (4, 16, 16, 3)),)
    one, four = planned(tmp_path, "--runtimes", "ort", "--recipes", "fp32", "-b", "1,4")
    assert unsupported(one) == "the file fixes its batch to 4: measure it with --batch-sizes 4"
    assert unsupported(four) is None


def test_what_flags_say_reaches_the_variant(tmp_path: Path, described: dict[str, Any]) -> None:
    """Numbers and sizes are read as they are written."""
    planned(tmp_path, "--mean", "0.5,0.25,0", "--scale", "0.5", "--size", "16")
    row = VARIANTS["leaf.onnx"].given
    assert row is not None
    told = json.loads(row.preprocess)
    assert (told["mean"], told["scale"], told["layout"]) == ([0.5, 0.25, 0.0], 0.5, "NHWC")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--model", "no.onnx"], "--model: no.onnx is no file"),
        (["--model", "{folder}/leaf.h5"], "is no .onnx file: export it first"),
        (
            ["--model", "{folder}/leaf.onnx", "--against", "."],
            "--model can't be had with --against",
        ),
        (["--preset", "tf"], "--preset is about a file of yours: it needs --model"),
        (["--model", "{folder}/leaf.onnx", "--mean", "a,b"], "write a number for each channel"),
        (["--model", "{folder}/leaf.onnx", "--size", "big"], "write HEIGHTxWIDTH in pixels"),
        (["--model", "{folder}/leaf.onnx", "--preset", "keras"], "preset is 'keras'; known are"),
        (["--model", "{folder}/leaf.onnx"], "nobody says how images are prepared"),
    ],
)
def test_a_wrong_argument_names_the_remedy(
    tmp_path: Path, described: dict[str, Any], words: list[str], message: str
) -> None:
    """Before anything is built."""
    for name in ("leaf.onnx", "leaf.h5"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(UsageError, match=message):
        given.opened(parse([word.format(folder=tmp_path) for word in words]))


_ANOTHER_PROCESS = """
import sys
from bench import command_line, given
print([row.name for row in given.opened(command_line.parse(sys.argv[1:])).given])
"""


def test_what_would_decide_about_a_model_can_be_typed_anew(
    tmp_path: Path, run_of: Callable[..., Run]
) -> None:
    """Another process knows no variant of the model's name: --model brings it."""
    pytest.importorskip("onnx")
    from tests.export.given_files import keras_like

    keras_like(tmp_path / "leaf.onnx")
    cases = [Case("leaf.onnx", recipe, "ort", 1, weights=OWN) for recipe in ("fp32", "fp32-opt")]
    blocks = [block for case in cases for block in measured(case, 10, 10, 10.1)]
    command = shlex.join(["python", "-m", "bench.run", "--model", "leaf.onnx", *TOLD])
    found = more.more_blocks(fields.field([run_of(*blocks, command=command)]).contenders, 9)
    done = subprocess.run(
        [sys.executable, "-c", _ANOTHER_PROCESS, *shlex.split(found.command)[3:]],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout.strip(), done.returncode) == ("['leaf.onnx']", 0), done.stderr


def test_sizes() -> None:
    """One number is a square."""
    assert (parse_size("300x400"), parse_size("224")) == ((300, 400), (224, 224))


def test_a_reader_that_dies_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that brings down its reader harms nobody else, and is named."""
    bad = tmp_path / "bad.onnx"
    bad.write_bytes(b"\x08\x07\x12\x00" * 100)
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(UsageError, match=r"bad\.onnx can't be read: its reader ended with exit"):
        given.opened(parse(["--model", str(bad), *TOLD]))


def leaves(folder: Path, names: list[str], images: int = 4) -> Path:
    """Class folders of plain pictures, a few each."""
    chance = np.random.default_rng(0)
    for name in names:
        (folder / name).mkdir(parents=True)
        for number in range(images):
            pixels = chance.integers(0, 256, (20, 20, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return folder


NAMES = [f"leaf {number}" for number in range(10)]


def test_the_folders_name_the_classes_where_somebody_says_so(
    tmp_path: Path, described: dict[str, Any]
) -> None:
    """In their order; without the flag nothing does, and names of the file's own stay."""
    data = ["--data", str(leaves(tmp_path / "data", NAMES, images=1))]
    own = json.dumps([f"own {number}" for number in range(10)])
    planned(tmp_path, *data, names=("unsaid.onnx",))
    planned(tmp_path, *data, "--folder-order", names=("said.onnx",))
    described["metadata"] = {"classes": own}
    planned(tmp_path, *data, "--folder-order", names=("own.onnx",))
    found = {name: VARIANTS[f"{name}.onnx"].given for name in ("unsaid", "said", "own")}
    names = {name: (row.class_names, row.assumed_names) for name, row in found.items() if row}
    assert names == {
        "unsaid": ((), False),
        "said": (tuple(NAMES), True),
        "own": (tuple(json.loads(own)), False),
    }


def test_another_number_of_folders_is_an_error_with_both_sides(
    tmp_path: Path, described: dict[str, Any]
) -> None:
    """Nine folders can't be the classes of ten outputs; data that is none is an error, too."""
    data = leaves(tmp_path / "data", NAMES[:9], images=1)
    said = rf"leaf.onnx has 10 classes \(without names\), .*data has 9 \({', '.join(NAMES[:9])}\)"
    with pytest.raises(UsageError, match=said):
        planned(tmp_path, "--data", str(data), "--folder-order")
    with pytest.raises(UsageError, match="doesn't exist"):
        planned(tmp_path, "--data", str(tmp_path / "gone"), "--folder-order")


@pytest.mark.long
@pytest.mark.slow
def test_a_file_of_another_tool_is_built_measured_and_judged(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Channels last, opset 11, settings beside it, its own class names: rows with accuracy."""
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    from tests.export.given_files import CLASSES, keras_like

    names = [f"leaf {number}" for number in range(CLASSES)]
    model = keras_like(tmp_path / "leaf.onnx", opset=11, metadata={"classes": json.dumps(names)})
    told = 'preset = "tf"\nresize = "crop"\nfirst = 0\nfilter = "bicubic"\n'
    model.with_suffix(".toml").write_text(told)
    data = leaves(tmp_path / "data", names)
    words = ["--model", str(model), "--data", str(data), "--quick", "--runtimes", "ort", "-t", "1"]
    where = ["--out", str(tmp_path / "out"), "--store", str(tmp_path / "store")]
    recipes = "fp32,int8-static"
    assert run.main([*words, *where, "--recipes", recipes]) == 0
    (path,) = find_runs(tmp_path / "out")
    found = read_run(path)
    rows = {one.case.recipe: one for one in found.measurements if not one.case.copy}
    assert set(rows) == set(recipes.split(","))
    assert all(row.parity is not None and row.parity.passed for row in rows.values())
    assert {len(row.answers.predicted) for row in rows.values() if row.answers} == {CLASSES}
    assert found.header.weights.startswith("own: leaf.onnx (sha256 ")
    page = (tmp_path / "out" / "README.md").read_text()
    assert "### own (weights: own)" in page
    assert str(tmp_path) not in page
    # The classes of the folder and those of the file must be the same.
    leaves(tmp_path / "others", [*names[:9], "moss"])
    wrong = [*words[:3], str(tmp_path / "others"), *words[4:]]
    assert run.main([*wrong, *where]) == 2
    assert "moss" in capfd.readouterr().err


@pytest.mark.slow
def test_a_table_of_a_given_model_is_made_anew_by_another_process(tmp_path: Path) -> None:
    """Who reads the records knows the model by them alone."""
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    from bench import report
    from tests.export.given_files import keras_like

    model = keras_like(tmp_path / "leaf.onnx")
    words = ["--model", str(model), *TOLD, "--quick", "--runtimes", "ort", "-t", "1"]
    where = ["--out", str(tmp_path / "out"), "--store", str(tmp_path / "store")]
    assert run.main([*words, *where, "--recipes", "fp32"]) == 0
    before = (tmp_path / "out" / "README.md").read_text()
    del VARIANTS["leaf.onnx"]
    report.write(tmp_path / "out")
    assert (tmp_path / "out" / "README.md").read_text() == before


@pytest.mark.slow
def test_an_operator_that_nobody_has_is_a_row_with_a_reason(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Built and run: no traceback, and its name steers no terminal and no page."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from tests.export.given_files import keras_like

    model = onnx.load(keras_like(tmp_path / "leaf.onnx"))
    model.graph.node[2].op_type, model.graph.node[2].domain = "Own\x1b[31m", "com.example"
    model.opset_import.append(onnx.helper.make_opsetid("com.example", 1))
    onnx.save(model, tmp_path / "leaf.onnx")
    words = ["--model", str(tmp_path / "leaf.onnx"), *TOLD, "--quick", "--runtimes", "ort"]
    where = ["--out", str(tmp_path / "out"), "--store", str(tmp_path / "store")]
    assert run.main([*words, "-t", "1", "--recipes", "fp32", *where]) == 1
    said = capfd.readouterr()
    assert "Own\ufffd[31m" in said.out and "\x1b" not in said.out + said.err
    assert "Traceback" not in said.out + said.err
    (path,) = find_runs(tmp_path / "out")
    rows = [one for one in read_run(path).measurements if one.case.runtime == "ort"]
    assert {row.status for row in rows} == {"failed"}
    assert all("Own\ufffd[31m" in row.reason for row in rows)
    assert "\x1b" not in (tmp_path / "out" / "README.md").read_text()


@pytest.mark.parametrize(
    ("key", "text"),
    [("names", "{[1]: 2}"), ("deploybench.preprocess", "[" * 100_000)],
)
def test_metadata_that_mean_harm_are_no_traceback(
    tmp_path: Path, described: dict[str, Any], key: str, text: str
) -> None:
    """They are taken apart in this process: names are none then, preprocessing is an error."""
    described["metadata"] = {key: text}
    if key == "names":
        planned(tmp_path, "--runtimes", "ort")
        return
    with pytest.raises(UsageError, match=r"--model: .*leaf\.onnx: its metadata's"):
        planned(tmp_path, "--runtimes", "ort")
