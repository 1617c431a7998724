"""Building through children: what is found, what fails, what is said."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from export import run, steps
from export.artifact import Artifact, folder_sha256
from export.build import Context, Options, Wanted, WeightsFacts, chain
from export.run import EVENT, REQUEST, Event, Request, UsageError, main, serve

Built = Callable[[str, str, str], Artifact]
SMALL = Wanted("revisited-v6", "fp32", "onnx")


def served(store: Path, *wanted: Wanted, options: Options | None = None) -> list[Event]:
    """All events of one request."""
    events: list[Event] = []
    serve(Request(str(store), options or Options(), wanted), events.append)
    return events


def test_a_second_request_builds_nothing(built: Built, store_folder: Path) -> None:
    """What stands in the store is found, with the same hash, and no step is started."""
    artifact = built(SMALL.variant, SMALL.recipe, SMALL.format)
    events = served(store_folder, SMALL)
    assert [event.kind for event in events] == ["weights", "built"]
    assert events[-1].found
    assert events[-1].artifact == artifact
    assert folder_sha256(Path(artifact.folder)) == artifact.sha256


@pytest.mark.long
def test_a_damaged_file_is_built_again(tmp_path: Path) -> None:
    """A model file that was cut off is no artifact any more."""
    pytest.importorskip("torch")
    artifact = served(tmp_path, SMALL)[-1].artifact
    assert artifact is not None
    artifact.path.write_bytes(artifact.path.read_bytes()[:1000])
    events = served(tmp_path, SMALL)
    assert "building" in [event.kind for event in events]
    again = events[-1].artifact
    assert again is not None
    assert again.sha256 == artifact.sha256


def test_every_file_says_what_it_is(built: Built) -> None:
    """Variant, recipe, key, class names and preprocessing stand in each .onnx file."""
    onnx = pytest.importorskip("onnx")
    for recipe in ("fp32", "fp32-opt", "int8-dynamic", "int8-static"):
        artifact = built(SMALL.variant, recipe, "onnx")
        model = onnx.load(artifact.path)
        said = {entry.key: entry.value for entry in model.metadata_props}
        assert said["deploybench.variant"] == SMALL.variant
        assert said["deploybench.recipe"] == recipe
        assert said["deploybench.key"] == artifact.key
        assert json.loads(said["deploybench.class_names"]) == list(artifact.class_names)
        assert artifact.class_names[:2] == ("airplane", "automobile")  # its weights are trained
        assert json.loads(said["deploybench.class_names_are_placeholders"]) is False
        assert json.loads(said["deploybench.preprocess"])["size"] == [32, 32]
        assert said["deploybench.preprocess"] == artifact.preprocess
        onnx.checker.check_model(artifact.path)


def test_made_up_class_names_are_told_as_such(tmp_path: Path) -> None:
    """Seeded weights know no classes: who reads the file is not misled."""
    onnx = pytest.importorskip("onnx")
    *_, built = served(tmp_path, SMALL, options=Options(weights="seeded"))
    assert built.artifact is not None
    model = onnx.load(built.artifact.path, load_external_data=False)
    said = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(said["deploybench.class_names"])[0] == "class_0000"
    assert json.loads(said["deploybench.class_names_are_placeholders"]) is True


def test_int8_shrinks_the_file_and_counts_the_same_weights(built: Built) -> None:
    """A quantised file holds the same parameters in about a quarter of the bytes."""
    whole, small = (built("revisited-base", r, "onnx") for r in ("fp32", "int8-static"))
    assert small.parameters == whole.parameters
    assert small.nonzero_parameters == whole.nonzero_parameters
    assert small.rounded_to_zero > 0
    assert small.size_bytes < 0.35 * whole.size_bytes


def test_both_formats_count_the_same_multiply_accumulates(built: Built) -> None:
    """torch's own counter and the ONNX graph agree."""
    graph, program = (built(SMALL.variant, "fp32", f) for f in ("onnx", "pt2"))
    assert graph.macs == program.macs


def test_the_reference_is_the_torch_modules_answer_to_sixteen_images(built: Built) -> None:
    """Inputs are real crops, not constants; the answers depend on them."""
    folder = Path(built(SMALL.variant, "fp32", "onnx").reference)
    inputs, logits = np.load(folder / "inputs.npy"), np.load(folder / "logits.npy")
    assert inputs.shape == (16, 3, 32, 32)
    assert logits.shape == (16, 10)
    assert inputs.std() > 0.1
    farthest = [np.abs(logits - row).max() for row in logits]
    assert min(farthest) > 0.1 * np.abs(logits).max()


def test_no_path_of_this_machine_stands_in_a_file(built: Built) -> None:
    """Files that travel don't tell where they were made."""
    home = str(Path(__file__).parents[2]).encode()
    for recipe, format in (("fp32", "onnx"), ("int8-static", "onnx"), ("fp32", "pt2")):
        content = built(SMALL.variant, recipe, format).path.read_bytes()
        assert home not in content
        assert b"site-packages" not in content


def test_a_crashing_step_is_a_reason_and_the_rest_is_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A child that dies without a word fails its own node only."""

    def child(words: list[str], stdin: bytes, log: Path, on_line: Callable[[str], None]) -> str:
        keys = [node["key"] for node in json.loads(stdin)["nodes"]]
        for key in keys:
            on_line(json.dumps({"building": key}))
            if "to-onnx" in key:
                return "SIGSEGV"
            on_line(json.dumps({"built": key}))
        return "exit code 0"

    monkeypatch.setattr(run, "_child", child)
    events = served(tmp_path, SMALL, Wanted("revisited-v6", "fp32", "pt2"))
    failures = {str(e.wanted): e.text for e in events if e.kind == "failed"}
    assert failures["revisited-v6/fp32 (onnx)"].startswith(
        "to-onnx: its process ended with SIGSEGV"
    )
    # The made-up child wrote nothing, so the other one is missing for that reason alone.
    assert failures["revisited-v6/fp32 (pt2)"] == "it vanished from the store"


@pytest.mark.parametrize("said", [True, False, None])
def test_a_converter_that_says_no_is_told_from_one_that_dies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: bool | None
) -> None:
    """Only a refusal is one; a failure that is none, and a crash (None), are not."""

    def child(words: list[str], stdin: bytes, log: Path, on_line: Callable[[str], None]) -> str:
        for key in [node["key"] for node in json.loads(stdin)["nodes"]]:
            if "to-ncnn" in key and said is None:
                return "SIGSEGV"
            if "to-ncnn" in key:
                on_line(json.dumps({"failed": key, "reason": "no such layer", "refused": said}))
                return "exit code 1"
            on_line(json.dumps({"built": key}))
        return "exit code 0"

    monkeypatch.setattr(run, "_child", child)
    events = served(tmp_path, Wanted("revisited-v6", "fp32", "ncnn"))
    assert events[-1].kind == "failed"
    assert events[-1].refused is (said is True)


@pytest.mark.parametrize(
    ("format", "exc", "refuses"),
    [
        ("ncnn", RuntimeError("no such layer"), True),
        ("ncnn", OSError("disk full"), False),
        ("ncnn", MemoryError(), False),
        ("ncnn", RuntimeError("std::bad_alloc"), False),
        ("onnx", RuntimeError("no such layer"), False),
    ],
)
def test_a_full_disk_is_no_word_of_a_converter(format: str, exc: Exception, refuses: bool) -> None:
    """Nor is what fails in a step of our own."""
    node = chain(Wanted("revisited-v6", "fp32", format), Context(Options()))[-1]
    assert steps._refuses(node, exc) is refuses


def test_a_failing_step_gives_its_sentence(tmp_path: Path) -> None:
    """An exception in a step becomes the reason of every file behind it."""
    pytest.importorskip("torch")
    options = Options(calibration_images=0)
    events = served(tmp_path, Wanted("revisited-v6", "int8-static", "onnx"), options=options)
    assert events[-1].kind == "failed"
    assert events[-1].text == "quantize-static: ValueError: calibration needs at least one image"


@pytest.mark.parametrize(
    ("code", "said", "ending"),
    [
        (-6, "terminate called after throwing 'std::bad_alloc'", "SIGABRT (out of memory?)"),
        (-6, "double free", "SIGABRT"),
        (1, "MemoryError: Unable to allocate 9 TiB", "exit code 1 (out of memory?)"),
        (0, "std::bad_alloc was caught", "exit code 0"),
        (-9, "", "SIGKILL (out of memory?)"),
    ],
)
def test_the_last_words_of_a_process(tmp_path: Path, code: int, said: str, ending: str) -> None:
    """A C++ library that can't allocate ends the process; its log says so."""
    (tmp_path / "log").write_text(said)
    assert run._ending(code, tmp_path / "log") == ending


def test_the_parent_speaks_json_to_its_caller(tmp_path: Path) -> None:
    """``--request -`` answers a request with one event a line, and exit code 1 for a failure."""
    request = REQUEST.dump_json(Request(str(tmp_path), Options(data=str(tmp_path)), (SMALL,)))
    command = [sys.executable, "-m", "export.run", "--request", "-"]
    done = subprocess.run(command, input=request, capture_output=True, check=False)
    assert done.returncode == 2
    assert b"error: " in done.stderr
    for line in done.stdout.splitlines():
        EVENT.validate_json(line)


def test_weights_that_are_none_are_refused(tmp_path: Path) -> None:
    """A file that is no checkpoint is a usage error that names it; nothing is built."""
    pytest.importorskip("torch")
    bad = tmp_path / "bad.safetensors"
    bad.write_bytes(b"no checkpoint")
    with pytest.raises(UsageError, match="bad.safetensors"):
        served(tmp_path / "store", SMALL, options=Options(weights=str(bad)))


def test_unknown_names_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    """The command line names what there is."""
    assert main(["--variants", "vg19"]) == 2
    assert "vgg19-pruned" in capsys.readouterr().err


@pytest.mark.parametrize("images", ["-3", "0", "10001"])
def test_a_number_of_calibration_images_is_checked(
    images: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """By its flag, before anything is built, in the words of ``bench.run``."""
    assert main(["--calibration-images", images]) == 2
    told = f"error: --calibration-images {images} is not between 1 and 10000\n"
    assert capsys.readouterr().err == told


def test_an_alias_builds_the_file_of_its_variant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """``vgg19-quantized`` asks for vgg19 under int8-dynamic."""
    asked: list[Wanted] = []

    def serve(request: Request, emit: run.Emit) -> int:
        asked.extend(request.wanted)
        return 0

    monkeypatch.setattr(run, "serve", serve)
    words = ["--variants", "vgg19-quantized", "--recipes", "int8-dynamic"]
    assert main([*words, "--store", str(tmp_path)]) == 0
    assert asked == [Wanted("vgg19", "int8-dynamic", "onnx")]
    asked.clear()
    assert main(["--variants", "vgg19*", "--store", str(tmp_path)]) == 0
    assert {wanted.recipe for wanted in asked} == {"fp32"}


def test_a_format_that_no_recipe_makes_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing to build is no success."""
    assert main(["--recipes", "int8-static", "--formats", "pt2", "--store", str(tmp_path)]) == 2
    assert "nothing to build" in capsys.readouterr().err


def test_a_converter_that_is_stopped_takes_its_programs_along() -> None:
    """The pipe that a grandchild holds is closed: nothing of it is left running."""
    script = "sleep 1000 & echo started; wait"
    process = subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "started\n"
    run.kill_with_children(process.pid)
    assert process.stdout.read() == ""  # would wait for the sleep
    assert process.wait() == -signal.SIGKILL
    process.stdout.close()


def test_each_step_keeps_what_it_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A log a step beside that of the whole process, named like the artifact."""

    def child(words: list[str], stdin: bytes, log: Path, on_line: Callable[[str], None]) -> str:
        nodes = json.loads(stdin)["nodes"]
        for place, node in enumerate(nodes):
            on_line(json.dumps({"building": node["key"]}))
            with log.open("a") as sink:
                sink.write(f"words of step {place}\n")
            on_line(json.dumps({"failed": node["key"], "reason": "no", "refused": False}))
        return "exit code 0"

    monkeypatch.setattr(run, "_child", child)
    served(tmp_path, SMALL)
    found = {path.name: path.read_text() for path in (tmp_path / "logs").iterdir()}
    (whole,) = [text for name, text in found.items() if name.endswith(".process.log")]
    steps_own = [text for name, text in found.items() if not name.endswith(".process.log")]
    assert len(steps_own) > 1
    assert sorted(steps_own) == whole.splitlines(keepends=True)


def pictures(root: Path, *classes: str) -> Path:
    """Class folders of two images each."""
    for name in classes:
        (root / name).mkdir(parents=True)
        for i in range(2):
            Image.new("RGB", (8, 8), (i, 0, 0)).save(root / name / f"{i}.png")
    return root


def test_images_of_other_classes_are_refused_before_anything_is_built(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both sides are named; no file is begun."""
    pytest.importorskip("safetensors", reason="reading weights needs deploybench[build]")
    data = pictures(tmp_path / "pets", "cat", "dog")
    words = ["--variants", SMALL.variant, "--data", str(data), "--store", str(tmp_path / "s")]
    assert main(words) == 2
    told = capsys.readouterr().err
    assert "revisited-v6 with its weights (cifar10) has 10 classes (airplane, " in told
    assert f"{data} has 2 (cat, dog)" in told
    assert not list((tmp_path / "s").glob("revisited*"))


def test_variants_whose_classes_are_others_fail_beside_one_of_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seeded weights were never taught any classes; ``bench.run`` compares by itself."""
    pytest.importorskip("safetensors", reason="reading weights needs deploybench[build]")
    seen: list[list[str]] = []

    def build_all(self: object, plan: object, misfits: Mapping[str, str]) -> int:
        seen.append(list(misfits))
        return 0

    monkeypatch.setattr(run._Run, "build_all", build_all)
    options = Options(data=str(pictures(tmp_path / "pets", "cat", "dog")))
    wanted = (SMALL, Wanted("vgg19", "fp32", "onnx"))
    for same in (True, False):
        request = Request(str(tmp_path / "s"), options, wanted, own_checks=same)
        serve(request, lambda event: None)
    assert seen == [[SMALL.variant], []]


def test_every_file_keeps_the_size_that_its_weights_learnt_at(built: Built) -> None:
    """What is made of another file as well."""
    for recipe in ("fp32", "int8-static"):
        assert built(SMALL.variant, recipe, "onnx").learnt_size == (32, 32)


def test_weights_that_learnt_at_another_size_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line while building, unless it is as the variant has it."""
    facts = WeightsFacts("leaves", "k", learnt_size=(224, 224))
    known = {"vgg19": facts, "vgg19-scaled-160": facts}
    monkeypatch.setattr(run, "_weights", lambda *_: (known, {}))
    monkeypatch.setattr(run._Run, "build_all", lambda *_: 0)
    events: list[Event] = []
    serve(Request(str(tmp_path / "s"), Options(), own_checks=True), events.append)
    notes = [event.text for event in events if event.kind == "note"]
    told = "vgg19-scaled-160 with its weights (leaves): learnt at 224x224, used at 160x160"
    assert notes == [told]
