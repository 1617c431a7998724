"""Class names that were lost, found again by a model's answers to labelled images."""

from __future__ import annotations

import json
import zipfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image
from rich.console import Console

from bench import launch, look, lost_names
from bench.command_line import parse
from bench.given import describe as described_by_a_child
from bench.matching import Matching
from export.given import Said, class_names
from export.images import ImageFolder, spread
from tests.conftest import Built

pytestmark = pytest.mark.usefixtures("given_models_forgotten")

CIFAR = Path(__file__).parents[3] / "shared" / "data" / "cifar10.zip"
PLANTS = CIFAR.with_name("plants40.zip")


@pytest.fixture
def nameless(built: Built, tmp_path: Path) -> Path:
    """A trained network as a file without class names."""
    onnx = pytest.importorskip("onnx")
    model = onnx.load(built("revisited-v6", "fp32", "onnx").path)
    kept = [entry for entry in model.metadata_props if "preprocess" in entry.key]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    onnx.save(model, tmp_path / "nameless.onnx")
    return tmp_path / "nameless.onnx"


def folder_of(source: Path, target: Path, names: dict[str, str], images: int) -> Path:
    """Some images of each class of a zip, in folders that are called otherwise."""
    if not source.exists():
        pytest.skip(f"{source.name} is not here: it is no part of the project")
    data = ImageFolder.open(source)
    kept = [x for x in data.part("test") if data.class_names[x.label] in names]
    with zipfile.ZipFile(source) as archive:
        for entry in spread(kept, images * len(names), seed=0):
            place = target / names[data.class_names[entry.label]] / Path(entry.name).name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(archive.read(entry.name))
    return target


@pytest.mark.slow
def test_permuted_names_are_found_again(
    nameless: Path, store_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The folders are sorted otherwise than the outputs: each output gets its own name back."""
    names = "airplane automobile bird cat deer dog frog horse ship truck".split()
    renamed = {name: f"{9 - number}-{name}" for number, name in enumerate(names)}
    data = folder_of(CIFAR, tmp_path / "data", renamed, images=30)
    words = [str(nameless), "--data", str(data), "--store", str(store_folder)]
    assert lost_names.main([*words, "--write", str(tmp_path / "names.json")]) == 0
    found = json.loads((tmp_path / "names.json").read_text())
    assert found["names"] == [renamed[name] for name in names]
    assert [pair["images"] for pair in found["pairs"]] == [30] * 10
    assert all(pair["sure"] for pair in found["pairs"])
    told = Said(class_names=str(tmp_path / "names.json"))
    assert class_names(described_by_a_child(nameless), told, Said(), 10) == tuple(found["names"])
    said = capsys.readouterr().out
    assert "The model knows these classes" in said
    assert "of 30 images" in said


@pytest.mark.slow
def test_images_of_other_classes_are_refused(
    nameless: Path, store_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As many classes, and answers that depend on them: still no class of this model."""
    if not PLANTS.exists():
        pytest.skip(f"{PLANTS.name} is not here: it is no part of the project")
    names = ImageFolder.open(PLANTS).class_names[:10]
    data = folder_of(PLANTS, tmp_path / "data", {name: name for name in names}, images=16)
    words = [str(nameless), "--data", str(data), "--store", str(store_folder)]
    assert lost_names.main([*words, "--write", str(tmp_path / "names.json")]) == 1
    assert "was not trained on the classes of data" in " ".join(capsys.readouterr().out.split())
    assert not (tmp_path / "names.json").exists()


def test_of_two_classes_more_than_half_is_demanded() -> None:
    """Half are right by chance: halfway between that and all, unless somebody says otherwise."""
    some = Matching((), hits=66, tested=80, chance=0.5, p_value=1e-9)
    assert 0.5 < some.surely_right < 0.75
    assert not lost_names.known(some, None)
    assert lost_names.known(some, 0.5)
    assert lost_names.known(replace(some, hits=78), None)
    assert not lost_names.known(replace(some, hits=78, p_value=0.02), None)


def test_too_few_images_say_nothing_of_the_model(tmp_path: Path) -> None:
    """Where even all right would not do: with 16 of two classes the bound stays below 3/4."""
    (tmp_path / "a").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "a" / "1.png")
    right = Matching((), hits=16, tested=16, chance=0.5, p_value=0.5**16)
    for few in (right, replace(right, hits=3, p_value=1.0), replace(right, hits=0, tested=0)):
        assert lost_names.too_few(few, None)
        assert "Too few images to tell" in lost_names.verdict(few, ImageFolder.open(tmp_path), None)
    more = replace(right, hits=17, tested=17)
    assert lost_names.known(more, None) and not lost_names.too_few(more, None)
    assert not lost_names.too_few(replace(more, hits=2), None)
    assert lost_names.too_few(more, 0.99)


def pictures(folder: Path, names: str, each: int) -> Path:
    """Class folders of plain pictures."""
    for name in names:
        (folder / name).mkdir(parents=True)
        for number in range(each):
            Image.new("RGB", (8, 8)).save(folder / name / f"{number}.png")
    return folder


def test_of_each_folder_there_are_some_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a thousand classes a thousand images would leave none to test by."""
    monkeypatch.setattr(lost_names, "_USUAL_IMAGES", 2)
    data = pictures(tmp_path, "abc", each=5)
    _, entries = lost_names._images(data, None)
    assert [sum(entry.label == label for entry in entries) for label in range(3)] == [4, 4, 4]
    assert len(lost_names._images(data, 3)[1]) == 3


def test_too_few_images_have_an_exit_code_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A perfect model of two classes, and five images of each."""
    pytest.importorskip("onnx")
    from tests.export.given_files import keras_like

    model = keras_like(tmp_path / "leaf.onnx")
    words = [str(model), "--preset", "tf", "--resize", "squash", "--filter", "bilinear"]
    monkeypatch.setattr(lost_names, "_built", lambda options: SimpleNamespace(class_names="x" * 10))
    monkeypatch.setattr(
        lost_names, "_answers", lambda artifact, folder, entries, *more: [e.label for e in entries]
    )
    few = pictures(tmp_path / "few", "ab", each=5)
    assert lost_names.main([*words, "--data", str(few)]) == 4
    assert "Too few images to tell" in capsys.readouterr().out
    enough = pictures(tmp_path / "enough", "ab", each=40)
    assert lost_names.main([*words, "--data", str(enough)]) == 0


def test_a_chance_too_small_for_a_float_is_not_0(tmp_path: Path) -> None:
    """469 of 480 by guessing: the chance of it is below what a float holds, and not none."""
    (tmp_path / "a").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "a" / "1.png")
    sure = Matching((), hits=469, tested=480, chance=0.025, p_value=0.0)
    assert "p <0.001)" in lost_names.verdict(sure, ImageFolder.open(tmp_path), None)


def test_inspect_takes_the_same_flags(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With --data it goes on to the names; without it their flags would say nothing."""
    asked: list[tuple[Path, str]] = []
    monkeypatch.setattr(look, "_run", lambda request: 0)
    monkeypatch.setattr(lost_names, "find", lambda file, words: asked.append((file, words.data)))
    look.main(["a.onnx", "--data", "leaves.zip", "--preset", "tf"])
    assert asked == [(Path("a.onnx"), "leaves.zip")]
    for flags in (["--preset", "tf"], ["--images", "9"], ["--write", "names.json"]):
        assert look.main(["a.onnx", *flags]) == 2
        assert f"{flags[0]} is about finding class names" in capsys.readouterr().err
    assert look.main(["a.onnx"]) == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["no.onnx", "--data", "{data}"], "no.onnx is no file"),
        (["{model}", "--data", "nowhere"], "--data: nowhere doesn't exist"),
        (["{model}", "--data", "{data}", "--images", "1"], "--images 1: give 2 or more"),
        (["{model}", "--data", "{data}", "--least-share", "1"], "--least-share 1: give a share"),
    ],
)
def test_wrong_arguments_are_sentences(
    tmp_path: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2, and the value is named."""
    pytest.importorskip("onnx")
    from tests.export.given_files import keras_like

    model = keras_like(tmp_path / "leaf.onnx")
    model.with_suffix(".toml").write_text('preset = "tf"\nresize = "squash"\nfilter = "bilinear"\n')
    (tmp_path / "data" / "a").mkdir(parents=True)
    places = {"data": str(tmp_path / "data"), "model": str(model)}
    assert lost_names.main([word.format(**places) for word in words]) == 2
    assert message in capsys.readouterr().err


def test_the_child_that_answers_has_a_limit(
    built: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That of ``bench.run``'s children, where no flag says more: the model is a stranger's."""

    def child(setting: launch.Setting, log: Path) -> launch.Child:
        raise launch.ChildDied(f"{setting.memory_bytes} bytes")

    for name in ("a", "b"):
        (tmp_path / "data" / name).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(tmp_path / "data" / name / "1.png")
    folder = ImageFolder.open(tmp_path / "data")
    artifact = built("revisited-v6", "fp32", "onnx")
    options = parse(["--store", str(tmp_path / "store")])
    monkeypatch.setattr("bench.host.child_memory_bytes", lambda: 12345)
    monkeypatch.setattr(launch, "Child", child)
    with pytest.raises(launch.ChildDied, match="12345 bytes"):
        lost_names._answers(artifact, folder, folder.entries(), options, Console(quiet=True))
