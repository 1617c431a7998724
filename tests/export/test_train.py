from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch", reason="training needs torch")
from safetensors import safe_open  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402

from export import courses  # noqa: E402
from export.train import main  # noqa: E402
from export.train_job import Job, recipe_of  # noqa: E402
from export.train_log import read_log  # noqa: E402
from export.variants import VARIANTS  # noqa: E402
from export.weights import apply, read_checkpoint  # noqa: E402

COLOURS = {"bird": (200, 40, 40), "ship": (40, 40, 200), "truck": (40, 200, 40)}


@pytest.fixture(autouse=True)
def one_thread():
    """Two threads wait for one another where others compute too."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def folder(root: Path, classes=tuple(COLOURS), count=(12, 6, 2), side=8):
    """Three parts of noisy squares, one colour a class."""
    noise = np.random.default_rng(0)
    for part, images in zip(("train", "val", "test"), count, strict=True):
        for name in classes:
            (root / part / name).mkdir(parents=True)
            for number in range(images):
                pixels = np.array(COLOURS[name]) + noise.integers(-40, 40, (side, side, 3))
                image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
                image.save(root / part / name / f"{number}.png")
    return root


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Three classes, three parts."""
    return folder(tmp_path_factory.mktemp("data") / "squares")


def command(data: Path, out: Path, *more: str, variant: str = "revisited-base") -> int:
    """Train on two cores' worth of nothing."""
    base = ["--variants", variant, "--data", str(data), "--out", str(out), "--no-compile"]
    small = ["--size", "8x8", "--epochs", "3", "--batch-size", "8", "--threads", "1"]
    return main([*base, *small, *more])


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    """The checkpoint of one small training."""
    out = tmp_path_factory.mktemp("trained")
    assert command(data, out) == 0
    return out / "revisited-base_squares.safetensors"


def metadata(path: Path):
    """What a checkpoint says of itself."""
    with safe_open(path, framework="pt") as file:
        return file.metadata()


def same(first: Path, second: Path) -> bool:
    """Whether two checkpoints hold the same tensors, bit for bit."""
    ours, theirs = load_file(first), load_file(second)
    return ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) for k in ours)


def test_a_checkpoint_says_what_it_is(trained):
    """Classes in output order, preprocessing, data, accuracy and what was done are in it."""
    found = metadata(trained)
    assert json.loads(found["classes"]) == sorted(COLOURS)
    assert found["variant"] == "revisited-base"
    assert found["mean"] == "0.485,0.456,0.406"
    assert found["data"].startswith("squares ")
    assert "parent" not in found and "first" not in found
    assert 0 <= json.loads(found["accuracy"])["val"] <= 1
    assert json.loads(found["steps"])[0].startswith("trained: 3 epochs at 8x8, Adam 0.0005")


def test_a_checkpoint_is_read_by_the_build(trained):
    """What export.weights makes of it fits the variant's own network."""
    weights = read_checkpoint(trained)
    assert weights.name == "squares"
    from export.models.revisited import base

    apply(base(3, (8, 8)), None, weights)


def test_it_learns(trained):
    """Colours are told apart after three epochs."""
    assert json.loads(metadata(trained)["accuracy"])["val"] > 0.6


def test_the_best_epoch_is_what_is_written(trained):
    """The accuracy in the checkpoint is the highest in the log."""
    log = read_log(trained.with_suffix(".train.jsonl"))
    assert log.done
    assert [line.epoch for line in log.epochs] == [1, 2, 3]
    best = max(line.val_accuracy for line in log.epochs)
    assert json.loads(metadata(trained)["accuracy"])["val"] == pytest.approx(best, abs=1e-6)


def test_the_log_says_what_was_trained(trained):
    """Recipe, seed, batch size, versions and the data's fingerprints stand in the first line."""
    header = read_log(trained.with_suffix(".train.jsonl")).header
    assert header["plan"]["recipe"]["batch_size"] == 8
    assert header["plan"]["seed"] == 0
    assert len(header["plan"]["data"][0]) == 64
    assert header["images"] == {"train": 36, "val": 18}
    assert header["versions"]["torch"] == torch.__version__


def test_the_test_part_is_never_read(tmp_path):
    """Images there may be broken: nobody notices."""
    broken = folder(tmp_path / "squares")
    for image in (broken / "test").rglob("*.png"):
        image.write_bytes(b"no image")
    assert command(broken, tmp_path / "out") == 0


def test_the_same_command_gives_the_same_weights(data, trained, tmp_path):
    """Bit for bit; another seed gives others."""
    assert command(data, tmp_path) == 0
    assert same(tmp_path / trained.name, trained)
    assert command(data, tmp_path, "--seed", "1", "--name", "other") == 0
    assert not same(tmp_path / "revisited-base_other.safetensors", trained)


@pytest.mark.parametrize("after", [1, 2])
def test_an_interrupted_training_resumes_to_the_same_weights(
    data, trained, tmp_path, monkeypatch, capsys, after
):
    """Stopped in the middle, the same command goes on; tensors are those of an unbroken run."""
    judge, calls = courses.ImageCourse.judge, []

    def interrupted(self):
        calls.append(1)
        if len(calls) > after:
            raise KeyboardInterrupt
        return judge(self)

    with monkeypatch.context() as patched:
        patched.setattr(courses.ImageCourse, "judge", interrupted)
        assert command(data, tmp_path) == 130
    assert (tmp_path / "revisited-base_squares.train.pt").exists()
    capsys.readouterr()
    assert command(data, tmp_path) == 0
    assert f"goes on after epoch {after}" in capsys.readouterr().out
    assert same(tmp_path / trained.name, trained)
    ours, theirs = (
        [(line.epoch, line.train_loss, line.val_loss) for line in read_log(log).epochs]
        for log in (x.with_suffix(".train.jsonl") for x in (tmp_path / trained.name, trained))
    )
    assert ours == theirs
    assert not (tmp_path / "revisited-base_squares.train.pt").exists()


def test_what_is_done_is_not_done_again(data, trained, capsys):
    """The same command says that the file is there; other options are told apart."""
    before = trained.stat().st_mtime_ns
    assert command(data, trained.parent) == 0
    assert "is there already" in capsys.readouterr().out
    assert command(data, trained.parent, "--lr", "0.1") == 1
    assert "--name" in capsys.readouterr().err
    assert trained.stat().st_mtime_ns == before


def test_going_on_from_a_checkpoint(data, trained, tmp_path):
    """The child names its parent and all steps in order; one epoch of Adam 1e-4."""
    arguments = ["--variants", "revisited-base", "--data", str(data), "--out", str(tmp_path)]
    more = ["--size", "8x8", "--no-compile", "--from", str(trained), "--threads", "1"]
    assert main([*arguments, *more]) == 0
    found = metadata(tmp_path / trained.name)
    assert found["parent"].startswith(f"{trained.name} ")
    steps = json.loads(found["steps"])
    assert steps[0].startswith("trained: 3 epochs")
    assert steps[1].startswith("fine-tuned: 1 epoch at 8x8, Adam 0.0001")
    assert json.loads(found["learnt_from"]) == [metadata(trained)["data"], found["data"]]


def test_head_only_leaves_the_backbone_alone(data, trained, tmp_path):
    """All but the head is bit for bit the parent's, statistics of BatchNorm included."""
    assert command(data, tmp_path, "--from", str(trained), "--head-only", "--views", "2") == 0
    parent, child = load_file(trained), load_file(tmp_path / trained.name)
    changed = {key for key in parent if not torch.equal(parent[key], child[key])}
    assert changed
    assert all(key.startswith(("dense.", "fc.")) for key in changed)
    assert json.loads(metadata(tmp_path / trained.name)["steps"])[1].startswith("head trained: ")


def test_head_only_resumes_too(data, trained, tmp_path, monkeypatch):
    """Features are stored anew, and the head ends up the same."""
    from export import features

    options = ("--from", str(trained), "--head-only")
    assert command(data, tmp_path / "whole", *options) == 0
    judge, calls = features.FeatureCourse.judge, []

    def interrupted(self):
        calls.append(1)
        if len(calls) > 1:
            raise KeyboardInterrupt
        return judge(self)

    with monkeypatch.context() as patched:
        patched.setattr(features.FeatureCourse, "judge", interrupted)
        assert command(data, tmp_path / "broken", *options) == 130
    assert command(data, tmp_path / "broken", *options) == 0
    assert same(tmp_path / "broken" / trained.name, tmp_path / "whole" / trained.name)


def test_frozen_layers_stay(data, trained, tmp_path):
    """What comes before the named layer doesn't change, and its statistics neither."""
    options = ("--from", str(trained), "--freeze-before", "blocks.1.body.0.0")
    assert command(data, tmp_path, *options) == 0
    parent, child = load_file(trained), load_file(tmp_path / trained.name)
    changed = {key for key in parent if not torch.equal(parent[key], child[key])}
    assert not any(key.startswith("blocks.0.") for key in changed)
    assert any(key.startswith("blocks.1.") for key in changed)


def test_no_epoch_only_takes_statistics(data, trained, tmp_path):
    """--epochs 0 with --recalibrate-norms changes BatchNorm's buffers and nothing else."""
    options = ("--from", str(trained), "--recalibrate-norms", "--epochs", "0")
    assert command(data, tmp_path, *options) == 0
    parent, child = load_file(trained), load_file(tmp_path / trained.name)
    changed = {key for key in parent if not torch.equal(parent[key], child[key])}
    assert changed
    assert all("running" in key or "num_batches" in key for key in changed)
    assert "BatchNorm statistics" in json.loads(metadata(tmp_path / trained.name)["steps"])[1]


def test_statistics_are_taken_in_the_precision_of_training(data, trained, tmp_path):
    """bf16 rounds a little, and the checkpoint says in what they were taken."""
    options = ("--from", str(trained), "--recalibrate-norms", "--epochs", "0")
    files = {}
    for name in ("fp32", "bf16"):
        assert command(data, tmp_path, *options, "--precision", name, "--name", name) == 0
        files[name] = tmp_path / f"revisited-base_{name}.safetensors"
        step = json.loads(metadata(files[name])["steps"])[1]
        assert step.startswith("BatchNorm statistics") and step.endswith(f", {name}")
    assert not same(*files.values())


def test_a_student_is_taught(data, trained, tmp_path, capsys):
    """With a teacher the weights differ from those learnt alone, and the file names it."""
    options = ("--teacher", str(trained), "--teacher-size", "16x16", "--views", "2")
    variant = "revisited-v6"
    # The teacher flattens: it takes images of its own size only.
    assert command(data, tmp_path, *options, variant=variant) == 1
    tiny = ("--teacher", str(trained), "--teacher-size", "3x3")
    assert command(data, tmp_path, *tiny, variant=variant) == 1
    assert "error: --teacher-size: " in capsys.readouterr().err
    taught_by = ("--teacher", str(trained), "--views", "2", "--name", "taught")
    assert command(data, tmp_path, *taught_by, variant=variant) == 0
    assert command(data, tmp_path, "--views", "2", "--name", "alone", variant=variant) == 0
    taught, alone = (tmp_path / f"{variant}_{name}.safetensors" for name in ("taught", "alone"))
    assert not same(taught, alone)
    assert f"taught by {trained.name}" in metadata(taught)["trained"]
    own = metadata(alone)["data"]
    assert json.loads(metadata(taught)["learnt_from"]) == [metadata(trained)["data"], own]
    assert "learnt_from" not in metadata(alone)
    plan = read_log(taught.with_suffix(".train.jsonl")).header["plan"]
    assert plan["teacher"].endswith(" revisited-base 8x8")


def test_half_is_half_the_size(data, trained, tmp_path):
    """Filters and matrices as fp16, the rest as it was."""
    assert command(data, tmp_path, "--half") == 0
    kinds = {v.ndim > 1: v.dtype for v in load_file(tmp_path / trained.name).values() if v.ndim}
    assert kinds == {True: torch.float16, False: torch.float32}
    # Whole weights are other ones: the file that stands is not taken for them.
    assert command(data, tmp_path) == 1


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--variants", "revisited-zeta"], ["revisited-zeta", "revisited-alpha", "--variants"]),
        (["--variants", "vgg19-pruned"], ["vgg19-pruned", "vgg19", "--from"]),
        (["--head-only"], ["--from"]),
        (["--epochs", "0"], ["--from"]),
        (["--name", "seeded"], ["seeded", "--name"]),
        (["--name", "a/b"], ["a/b", "--name"]),
        (["--alpha", "2"], ["--alpha", "2"]),
        (["--temperature", "0"], ["--temperature"]),
        (["--temperature", "inf"], ["--temperature", "inf"]),
        (["--lr", "-1"], ["--lr", "-1"]),
        (["--lr", "0"], ["--lr", "not 0"]),
        (["--lr", "nan"], ["--lr", "nan"]),
        (["--lr", "inf"], ["--lr", "inf"]),
        (["--alpha", "0.5"], ["--alpha", "--teacher"]),
        (["--temperature", "2"], ["--temperature", "--teacher"]),
        (
            ["--teacher-size", "8x8", "--teacher-variant", "vgg19"],
            ["--teacher-variant, --teacher-"],
        ),
        (["--scratch", "/nowhere"], ["--scratch /nowhere"]),
        (["--out", __file__], ["--out", "test_train.py is no folder"]),
        (["--plot", "missing.jsonl"], ["missing.jsonl"]),
    ],
)
def test_a_command_that_cant_be_meant_is_refused(data, tmp_path, capsys, more, words):
    """Exit code 2 before anything is read, and the sentence names the flag or the value."""
    assert command(data, tmp_path, *more) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert [word for word in words if word not in error] == []


def test_what_is_missing_is_named(capsys):
    """--variants, --data and --out are needed for a training."""
    assert main(["--variants", "vgg19"]) == 2
    assert "--data" in capsys.readouterr().err


def test_a_file_that_cant_be_written_is_a_sentence(data, tmp_path, capsys):
    """Exit code 1; what the system said, and the flags that name where files go."""
    (tmp_path / "revisited-base_squares.train.jsonl").mkdir()
    assert command(data, tmp_path) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: revisited-base: a file can't be read or written (")
    assert "squares.train.jsonl" in error and "--out" in error


@pytest.mark.parametrize("problem", [torch.OutOfMemoryError("CUDA out of memory."), MemoryError()])
def test_too_little_memory_is_a_sentence(data, tmp_path, monkeypatch, capsys, problem):
    """Exit code 1, with what makes a training smaller."""

    def fails(job, tell):
        raise problem

    monkeypatch.setattr("export.training.train", fails)
    assert command(data, tmp_path) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: revisited-base: out of memory") and "--batch-size" in error


@pytest.mark.parametrize("flag", ["--from", "--teacher"])
def test_a_checkpoint_that_is_not_there_is_no_training(flag, capsys):
    """Exit code 2, before any image is read, with the flag and the file."""
    words = ["--variants", "vgg19-gap", "--data", "leaves.zip", "--out", "out"]
    assert main([*words, flag, "missing.safetensors"]) == 2
    assert f"{flag} missing.safetensors" in capsys.readouterr().err


def test_what_is_tried_out_is_not_compiled():
    """With --limit a compiler would take longer than the training; --compile still means it."""
    tried = Job("student", Path("data"), Path("out"), "a", limit=200)
    assert not recipe_of(tried).compiled
    assert recipe_of(replace(tried, compiled=True)).compiled


def test_few_epochs_are_all_at_the_real_size():
    """A training that would end before its last stage learns what it is for all the same."""
    few = recipe_of(Job("vgg19-gap", Path("data"), Path("out"), "a", epochs=1))
    assert few.stages == ()
    assert recipe_of(Job("vgg19-gap", Path("data"), Path("out"), "a")).stages


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--size", "3x3"], ["--size", "3x3"]),
        (["--data", "missing.zip"], ["missing.zip"]),
        (
            ["--variants", "vgg19", "--size", "32x32", "--epochs", "30"],
            ["vgg19", "--from", "--head-only"],
        ),
    ],
)
def test_what_cant_be_trained_is_said(data, tmp_path, capsys, more, words):
    """Exit code 1 and a sentence that names what was given."""
    assert command(data, tmp_path, *more) == 1
    error = capsys.readouterr().err
    assert [word for word in words if word not in error] == []
    assert list(tmp_path.glob("*.safetensors")) == []


def test_a_checkpoint_of_other_classes_is_refused(trained, tmp_path, capsys):
    """Both sides are named: count, or names."""
    fewer = folder(tmp_path / "two", ("bird", "ship"))
    assert command(fewer, tmp_path / "a", "--from", str(trained)) == 1
    error = capsys.readouterr().err
    assert all(word in error for word in ("has 3 classes", "has 2", "truck", "--new-head"))
    others = folder(tmp_path / "others")
    for part in ("train", "val", "test"):
        (others / part / "truck").rename(others / part / "zebra")
    assert command(others, tmp_path / "b", "--from", str(trained)) == 1
    error = capsys.readouterr().err
    assert "only the data has zebra; only the checkpoint has truck" in error
    assert command(others, tmp_path / "c", "--from", str(trained), "--new-head") == 0
    assert "new head" in capsys.readouterr().out


def test_a_class_missing_in_a_split_is_named(tmp_path, capsys):
    """The data's own error is shown, and nothing is trained."""
    broken = folder(tmp_path / "squares")
    for image in (broken / "val" / "ship").iterdir():
        image.unlink()
    assert command(broken, tmp_path / "out") == 1
    assert "images of 'ship' in train, test, but none in val" in capsys.readouterr().err


def test_unreadable_images_are_said(tmp_path, capsys):
    """More than a tenth of them stops it, with the name of the first."""
    broken = folder(tmp_path / "squares")
    for image in (broken / "train").rglob("*.png"):
        image.write_bytes(b"no image")
    assert command(broken, tmp_path / "out") == 1
    assert "36 of 36 images" in capsys.readouterr().err


def test_a_diverging_loss_stops_and_leaves_the_last_good_one(data, tmp_path, capsys):
    """Exit code 1; the sentence has epoch and step; there is no checkpoint of NaN."""
    assert command(data, tmp_path, "--lr", "1e38") == 1
    error = capsys.readouterr().err
    assert "epoch 1, step" in error and "--lr" in error
    assert list(tmp_path.glob("*.safetensors")) == []


def test_names_that_the_recipe_varies_and_the_data_lacks_are_said(data, tmp_path, capsys):
    """The paper varies four classes: on other data that is another training."""
    command(data, tmp_path)
    assert "the data has no cat, deer, dog" in capsys.readouterr().out


@pytest.mark.long
@pytest.mark.slow
def test_two_at_a_time_are_as_good_as_one(data, trained, tmp_path):
    """In processes of their own the weights come out the same, and failures are collected."""
    more = ("--jobs", "2", "--threads", "1")
    assert command(data, tmp_path, *more, variant="revisited-base,revisited-v2") == 0
    assert same(tmp_path / trained.name, trained)
    assert (tmp_path / "revisited-v2_squares.safetensors").exists()
    bad = ("--jobs", "2", "--lr", "1e38", "--name", "bad")
    assert command(data, tmp_path, *bad, variant="revisited-base,revisited-v2") == 1


def test_every_family_has_a_recipe():
    """Whatever stands in VARIANTS can be trained somehow."""
    from export.train_plan import SCRATCH

    assert {row.family for row in VARIANTS.values()} <= set(SCRATCH)


@pytest.mark.parametrize("steps", ["[", "3", '"trained"'])
def test_a_parent_whose_steps_are_no_list_is_told(data, trained, tmp_path, capsys, steps):
    """Before anything is learnt, with the file."""
    other = tmp_path / "revisited-base_other.safetensors"
    save_file(load_file(trained), other, {**metadata(trained), "steps": steps})
    assert command(data, tmp_path, "--from", str(other)) == 1
    error = capsys.readouterr().err
    assert f"{other}: the metadata's 'steps' should be a JSON list" in error


def test_a_parent_that_names_no_classes_is_refused(data, trained, tmp_path, capsys):
    """That its outputs mean the data's classes in their order would be a guess."""
    bare = tmp_path / "revisited-base_bare.safetensors"
    save_file(load_file(trained), bare)
    assert command(data, tmp_path, "--from", str(bare)) == 1
    assert "does not name its" in capsys.readouterr().err
