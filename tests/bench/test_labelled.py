"""Which labelled images a run is about, what their classes are, and what a child is asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import PIL
import pytest
from PIL import Image

from bench import labelled, launch
from bench.block import Effort, run_block, with_answers
from bench.case import Case
from bench.labelled import Question, columns, extent, questions
from bench.options import Options, UsageError
from export.artifact import Artifact
from export.build import WeightsFacts
from export.images import Preprocess

CLASSES = ("a", "b", "c")
NULL = Case("revisited-base", "fp32", "null", threads=1)
ORT = replace(NULL, runtime="ort")
TRAINED = replace(ORT, weights="mine")


def folder(root: Path, classes: Sequence[str] = CLASSES, each: int = 4) -> Path:
    """An ImageFolder with a train and a test level; every image has a colour of its own."""
    for split in ("train", "test"):
        for i, name in enumerate(classes):
            (root / split / name).mkdir(parents=True)
            for j in range(each):
                picture = Image.new("RGB", (8, 8), (60 * i, 10 * j, 200 if split == "test" else 0))
                picture.save(root / split / name / f"{j}.png")
    return root


@pytest.fixture
def options(tmp_path: Path) -> Options:
    """A user's images and a store."""
    return Options(
        data=str(folder(tmp_path / "data")),
        store=tmp_path / "store",
        accuracy="all",
        folder_order=True,
    )


@pytest.fixture
def images(options: Options) -> labelled.Images:
    """The run's labelled images."""
    found = labelled.chosen([ORT], options)
    assert found is not None
    return found


@pytest.fixture
def asked(artifact: Artifact) -> Artifact:
    """A file that says how it takes an image."""
    return replace(artifact, preprocess=Preprocess((8, 8)).to_json())


def question(images: labelled.Images, artifact: Artifact, options: Options) -> Question:
    """What the one case is asked, with the resized images in the cache."""
    (found,) = questions(images, {ORT: artifact}, options).questions.values()
    labelled.prepare([found], lambda text: None)
    return found


# --- which images


def test_the_test_part_is_asked_about_and_nothing_else(images: labelled.Images) -> None:
    """What was learnt or calibrated from proves nothing."""
    assert all(entry.name.startswith("test/") for entry in images.entries)
    known = images.labelled
    assert (known.data, known.split, known.class_names) == ("data", "test", CLASSES)
    assert sorted(known.labels) == [0] * 4 + [1] * 4 + [2] * 4
    assert known.images == images.folder.fingerprint(images.entries)


def test_any_first_few_are_spread_over_the_classes(images: labelled.Images) -> None:
    """So that a sample is the beginning of all of them."""
    labels = images.labelled.labels
    assert [sorted(labels[i : i + 3]) for i in range(0, 12, 3)] == [[0, 1, 2]] * 4


def test_a_user_may_ask_for_fewer_images(options: Options) -> None:
    """The same ones every time, spread over the classes, and other images by their fingerprint."""
    few = replace(options, accuracy_images=3)
    once, again = labelled.chosen([ORT], few), labelled.chosen([ORT], few)
    whole = labelled.chosen([ORT], options)
    assert once is not None and again is not None and whole is not None
    assert once.labelled == again.labelled
    assert sorted(once.labelled.labels) == [0, 1, 2]
    assert once.labelled.images != whole.labelled.images


def test_other_contents_are_other_images(options: Options, images: labelled.Images) -> None:
    """A run with them is another run: see the run's identity."""
    Image.new("RGB", (8, 8), (1, 2, 3)).save(Path(options.data) / "test" / "a" / "0.png")
    changed = labelled.chosen([ORT], options)
    assert changed is not None and changed.labelled.images != images.labelled.images


def test_seeded_weights_are_asked_only_where_somebody_says_so(options: Options) -> None:
    """They guess; trained ones are asked about everything as soon as there are images."""
    unsaid = replace(options, accuracy=None)
    assert (extent(ORT, unsaid), extent(TRAINED, unsaid)) == ("none", "all")
    assert (extent(ORT, options), extent(TRAINED, options)) == ("all", "all")
    assert extent(TRAINED, replace(options, accuracy="none")) == "none"
    assert extent(TRAINED, replace(options, data="", accuracy=None)) == "none"
    assert labelled.chosen([ORT], unsaid) is None


@pytest.mark.parametrize("change", [{"runtime": "null"}, {"copy": "base"}, {"scenario": "offline"}])
def test_some_rows_have_no_accuracy_of_their_own(options: Options, change: dict) -> None:
    """A constant, another version of the code, and what answers as its row without a scenario."""
    assert extent(replace(TRAINED, **change), options) == "none"


@pytest.mark.parametrize(
    ("each", "part"), [(0, "holds no images"), (1, "no images left for a test part")]
)
def test_data_without_a_test_part_is_refused(tmp_path: Path, each: int, part: str) -> None:
    """Before anything is built, with the flag's name."""
    for name in CLASSES[: 3 * each]:
        (tmp_path / "few" / name).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(tmp_path / "few" / name / "only.png")
    (tmp_path / "few").mkdir(exist_ok=True)
    with pytest.raises(UsageError, match=f"--data: .*{part}"):
        labelled.chosen([ORT], Options(data=str(tmp_path / "few"), accuracy="all"))


# --- what the classes are


def named(artifact: Artifact, *names: str) -> Artifact:
    """The same file with weights that name their classes."""
    return replace(artifact, class_names=names, placeholder_names=False)


def test_the_same_classes_in_another_order_are_mapped_by_name(
    asked: Artifact, images: labelled.Images
) -> None:
    """For each class of the data the number of the output that stands for it."""
    assert columns(named(asked, "a", "b", "c"), images.labelled) == (0, 1, 2)
    assert columns(named(asked, "c", "a", "b"), images.labelled) == (1, 2, 0)


def test_other_classes_are_an_error_that_names_both_sides(
    asked: Artifact, images: labelled.Images, options: Options
) -> None:
    """Labels of other species mean nothing: counts, names and the first that differ."""
    with pytest.raises(UsageError) as caught:
        questions(images, {ORT: named(asked, "a", "x", "b")}, options)
    text = str(caught.value)
    assert text.startswith("--data: revisited-base with its weights (seeded) has 3 classes")
    assert "(a, x, b), data has 3 (a, b, c): only the data has c; only the checkpoint" in text
    assert "--accuracy none" in text


def test_a_variant_of_other_classes_is_left_out_beside_one_that_fits(
    asked: Artifact, images: labelled.Images, options: Options
) -> None:
    """A network of a thousand classes in the same run is measured, and its row says why not."""
    big = replace(asked, variant="vgg19", class_names=tuple(f"class_{i:04d}" for i in range(1000)))
    other = replace(ORT, variant="vgg19")
    found = questions(images, {ORT: asked, other: big}, options)
    assert set(found.questions) == {ORT}
    assert found.reasons == {
        other: "vgg19 with its weights (seeded) has 1000 classes (without names), data has 3 "
        "(a, b, c)"
    }
    with pytest.raises(UsageError, match="has 1000 classes .*--accuracy none"):
        questions(images, {other: big}, options)


def test_weights_without_names_have_no_accuracy(
    asked: Artifact, images: labelled.Images, options: Options
) -> None:
    """As many classes are not the same classes: the row says so, and how to say that they are."""
    found = questions(images, {ORT: asked}, replace(options, folder_order=False))
    assert found.questions == {}
    assert "does not name its classes" in found.reasons[ORT]
    assert "--folder-order" in found.reasons[ORT]
    (told,) = found.notes
    assert "(0: a, 1: b, 2: c); without it these rows have no accuracy" in told


def test_an_order_that_is_assumed_is_told(
    asked: Artifact, images: labelled.Images, options: Options
) -> None:
    """Weights without names get the folders' order where it was said; a line says so once."""
    again = replace(ORT, recipe="fp32-opt")
    (told,) = questions(images, {ORT: asked, again: asked}, options).notes
    assert "the weights of revisited-base don't name their classes" in told
    assert "(0: a, 1: b, 2: c)" in told
    assert questions(images, {ORT: named(asked, *CLASSES)}, options).notes == ()


def facts(*names: str) -> WeightsFacts:
    """Of a checkpoint that names these classes."""
    return WeightsFacts("mine", "key", class_names=names, placeholder_names=False)


def test_other_classes_are_told_before_anything_is_built(
    images: labelled.Images, options: Options
) -> None:
    """By what is known of the weights: one of other names, and none that fits, are errors."""
    other = replace(TRAINED, variant="vgg19")
    fits = {"revisited-base": facts("c", "a", "b")}
    labelled.check(images, [TRAINED], fits, options)
    labelled.check(images, [TRAINED, other], fits | {"vgg19": facts("a", "b")}, options)
    with pytest.raises(UsageError, match="has 2 classes .a, b., data has 3"):
        labelled.check(images, [other], {"vgg19": facts("a", "b")}, options)
    with pytest.raises(UsageError, match="checkpoint has x; it has the classes of revisited-base"):
        labelled.check(images, [TRAINED, other], fits | {"vgg19": facts("a", "b", "x")}, options)
    unasked = replace(options, accuracy="none")
    labelled.check(images, [other], {"vgg19": facts("a", "b")}, unasked)


def test_a_file_of_before_is_told_and_not_guessed(
    artifact: Artifact, images: labelled.Images, options: Options
) -> None:
    """How it takes an image stands in the file's record, or nowhere."""
    with pytest.raises(UsageError, match="k was built before files said how they take an image"):
        questions(images, {ORT: artifact}, options)


def test_all_images_are_asked_about_at_one_setting(
    asked: Artifact, images: labelled.Images, options: Options
) -> None:
    """The main one of the run, else the first; the others' own sessions have a sample."""
    usual = replace(ORT, threads=2)
    batched, sweep = replace(usual, batch_size=8), replace(ORT, runtime="tract")
    again = replace(usual, copy="again")
    cases = [ORT, usual, replace(usual, recipe="fp32-opt"), again, batched, sweep]
    found = questions(images, dict.fromkeys(cases, asked), options).questions
    whole = [case for case, row in found.items() if row.whole]
    assert whole == [usual, replace(usual, recipe="fp32-opt"), again, sweep]
    few = questions(images, {ORT: asked}, replace(options, accuracy="sample"))
    assert not few.questions[ORT].whole


# --- resized images


def test_resized_images_are_made_once_for_a_size(
    asked: Artifact, images: labelled.Images, options: Options
) -> None:
    """Another normalisation takes the same pixels; another size does not."""
    told: list[str] = []
    first = question(images, asked, options)
    other = replace(first, preprocess=Preprocess((8, 8), mean=(0.5, 0.5, 0.5)))
    larger = replace(first, preprocess=Preprocess((16, 12), first=32))
    labelled.prepare([first, other, larger, first], told.append)
    assert told == ["accuracy: resizing 12 images to 16 x 12"]
    assert np.load(larger.pixels).shape == (12, 16, 12, 3)
    assert sorted(path.suffix for path in first.cache.iterdir()) == [".npy", ".npy"]


def test_another_pillow_makes_its_own_resized_images(
    asked: Artifact,
    images: labelled.Images,
    options: Options,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What one version resized must not be taken for another's."""
    found = question(images, asked, options)
    assert found.pixels.is_file()
    monkeypatch.setattr(PIL, "__version__", "0.0")
    assert not found.pixels.exists()


def test_resized_images_are_those_of_preprocess(
    asked: Artifact, images: labelled.Images, options: Options
) -> None:
    """Image by image in the order of the labels."""
    found = question(images, asked, options)
    pixels = np.load(found.pixels)
    for entry, stored in zip(images.entries, pixels, strict=True):
        whole = found.preprocess(images.folder.read(entry))
        np.testing.assert_array_equal(found.preprocess.normalised(stored[None])[0], whole)


def test_an_unreadable_image_is_named_and_leaves_no_cache(
    asked: Artifact, images: labelled.Images, options: Options
) -> None:
    """The part that is reported on must be wholly readable."""
    (Path(options.data) / "test" / "b" / "2.png").write_bytes(b"no image")
    with pytest.raises(UsageError) as caught:
        question(images, asked, options)
    assert "1 of the 12 images that accuracy is judged by can't be read" in str(caught.value)
    assert "test/b/2.png" in str(caught.value)
    assert list((options.store / "pixels").iterdir()) == []


def test_an_image_that_can_not_be_cropped_is_named_and_leaves_no_cache(
    asked: Artifact, images: labelled.Images, options: Options
) -> None:
    """A square has no middle as wide as the network takes it: a sentence, and no traceback."""
    how = Preprocess((8, 10), first=8, resize="crop").to_json()
    said = r"--data: test/[abc]/\d\.png can't be taken .* 8 x 8 pixels .* larger --first, 10 for"
    with pytest.raises(UsageError, match=said):
        question(images, replace(asked, preprocess=how), options)
    assert list((options.store / "pixels").iterdir()) == []


def test_a_cache_that_can_not_be_written_is_told(
    asked: Artifact, images: labelled.Images, options: Options
) -> None:
    """With what to do about it."""
    options.store.mkdir()
    (options.store / "pixels").touch()
    with pytest.raises(UsageError, match="--store: .* can't be written .*--accuracy-images"):
        question(images, asked, options)


# --- asking


@pytest.mark.parametrize(
    ("image_s", "images", "count"),
    [(0.001, 500, 64), (0.25, 500, 20), (3.0, 500, 8), (0.001, 5, 5), (0.0, 500, 64)],
)
def test_a_sample_takes_about_five_seconds(image_s: float, images: int, count: int) -> None:
    """At most 64 images, at least 8, and never more than there are."""
    assert labelled.sample_count(image_s, images) == count


def effort(tmp_path: Path, asked: Question | None = None) -> Effort:
    """As little measuring as possible."""
    return Effort(seconds=0.01, samples=1, logs=tmp_path / "logs", question=asked)


@pytest.mark.parametrize("batch_size", [1, 8])
def test_a_block_is_asked_in_its_own_session_and_in_a_child_of_its_own(
    asked: Artifact, images: labelled.Images, options: Options, tmp_path: Path, batch_size: int
) -> None:
    """A constant names the first class for every image, whose rank is the true class's number."""
    found = question(images, asked, options)
    case = replace(NULL, batch_size=batch_size)
    block = run_block(case, 0, asked, effort(tmp_path, found))
    labels = images.labelled.labels
    assert block.status == "ok", block.reason
    assert block.answers is None and block.sampled is not None
    assert block.sampled.indices == tuple(range(12))
    assert (block.sampled.predicted, block.sampled.ranks) == ((0,) * 12, labels)
    whole = with_answers(block, asked, effort(tmp_path), found)
    assert whole.answers is not None and whole.latencies_ns == block.latencies_ns
    assert (whole.answers.indices, whole.answers.ranks) == ((), labels)


def test_later_blocks_are_not_asked(
    asked: Artifact, images: labelled.Images, options: Options, tmp_path: Path
) -> None:
    """The same file answers the same."""
    found = question(images, asked, options)
    assert run_block(NULL, 1, asked, effort(tmp_path, found)).sampled is None


def test_what_was_timed_is_kept_if_it_can_not_be_asked(
    asked: Artifact,
    images: labelled.Images,
    options: Options,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The row is measured, has no accuracy and says why: a child that dies, one that refuses."""
    found = question(images, asked, options)
    found.pixels.unlink()
    block = run_block(NULL, 0, asked, effort(tmp_path, found))
    assert block.status == "ok" and block.latencies_ns and block.sampled is None
    assert block.reason.startswith("accuracy: FileNotFoundError")

    def die(self: launch.Child, message: dict[str, object], limit_s: float) -> dict[str, object]:
        raise launch.ChildDied(f"killed during {message['do']}")

    monkeypatch.setattr(launch.Child, "ask", die)
    whole = with_answers(block, asked, effort(tmp_path), found)
    assert whole.status == "ok" and whole.answers is None
    assert whole.reason == f"{block.reason}; accuracy: killed during load"
