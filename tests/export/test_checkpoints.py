"""Which weights a variant gets, and what a checkpoint says about itself."""

from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from export import checkpoints
from export.checkpoints import CheckpointsError, check_folder, weights_of
from export.download import WeightsError
from export.metadata import checkpoint_facts


@pytest.fixture(autouse=True)
def nothing_packaged(tmp_path, monkeypatch):
    """No checkpoint comes with the package unless a test puts one there."""
    monkeypatch.setattr(checkpoints, "TRAINED", tmp_path / "packaged")
    (tmp_path / "packaged").mkdir()
    (tmp_path / "own").mkdir()


def put(folder, name, outputs=3, **metadata):
    """A checkpoint with nothing but a head."""
    path = folder / name
    save_file({"fc.weight": np.zeros((outputs, 2), np.float32)}, path, metadata)
    return path


def test_a_choice_for_all():
    """Whoever names weights gets them for every variant."""
    assert weights_of("vgg19", "seeded") == "seeded"
    assert weights_of("revisited-v1", "some/file.safetensors") == "some/file.safetensors"


def test_by_variant(tmp_path):
    """A variant's own checkpoint counts; one without any is seeded."""
    own = put(tmp_path / "own", "revisited-v1_leaves.safetensors")
    assert weights_of("revisited-v1", checkpoints=str(tmp_path / "own")) == str(own)
    assert weights_of("revisited-v2", checkpoints=str(tmp_path / "own")) == "seeded"
    assert weights_of("revisited-v1") == "seeded"


def test_packaged_ones_come_last(tmp_path):
    """The user's own folder is looked into before the packaged checkpoints."""
    packaged = put(tmp_path / "packaged", "revisited-v1_cifar10.safetensors")
    assert weights_of("revisited-v1") == str(packaged)
    own = put(tmp_path / "own", "revisited-v1_leaves.safetensors")
    assert weights_of("revisited-v1", checkpoints=str(tmp_path / "own")) == str(own)


def test_a_taught_student_is_not_the_untaught_one(tmp_path):
    """Both have the same layers; what one learnt is never shown as the other's."""
    (tmp_path / "student_a.safetensors").touch()
    assert weights_of("student", checkpoints.DEFAULT, str(tmp_path)).endswith(
        "student_a.safetensors"
    )
    assert weights_of("student-taught", checkpoints.DEFAULT, str(tmp_path)) == checkpoints.SEEDED


def test_from_a_parent_of_the_same_layers(tmp_path):
    """The same network at another size, or before its surgery, lends its weights; others don't."""
    folder = tmp_path / "own"
    parent = put(folder, "vgg19_leaves.safetensors")
    for name in ("vgg19", "vgg19-scaled-160", "vgg19-pruned"):
        assert weights_of(name, checkpoints=str(folder)) == str(parent)
    assert weights_of("vgg19-gap", checkpoints=str(folder)) == "seeded"
    pruned = put(folder, "vgg19-pruned_leaves.safetensors")
    assert weights_of("vgg19-pruned", checkpoints=str(folder)) == str(pruned)


def test_two_for_one_variant(tmp_path):
    """Which of two is meant is not guessed."""
    for name in ("a", "b"):
        put(tmp_path / "own", f"vgg19_{name}.safetensors")
    with pytest.raises(CheckpointsError, match="2 checkpoints of vgg19 .*vgg19_a.*vgg19_b"):
        weights_of("vgg19", checkpoints=str(tmp_path / "own"))


def test_a_useless_folder(tmp_path):
    """A folder that isn't there, says nothing or contradicts --weights is refused."""
    with pytest.raises(CheckpointsError, match="is not a folder"):
        check_folder(str(tmp_path / "nowhere"), "default")
    with pytest.raises(CheckpointsError, match="has no file VARIANT_NAME"):
        check_folder(str(tmp_path / "own"), "default")
    with pytest.raises(CheckpointsError, match="both say which weights"):
        check_folder(str(tmp_path / "own"), "imagenet")
    put(tmp_path / "own", "vgg19_leaves.safetensors")
    check_folder(str(tmp_path / "own"), "default")
    check_folder("", "imagenet")


def test_facts(tmp_path):
    """Name, hash, classes and preprocessing come from the header."""
    names = ["ash", "oak", "yew"]
    path = put(
        tmp_path,
        "vgg19-gap_leaves.safetensors",
        classes=json.dumps(names),
        mean="0.5,0.5,0.5",
        std="0.25,0.25,0.25",
        first="256",
    )
    facts = checkpoint_facts(path)
    assert (facts.name, facts.class_names, facts.placeholder_names) == (
        "leaves",
        tuple(names),
        False,
    )
    assert (facts.mean, facts.std, facts.first) == ((0.5,) * 3, (0.25,) * 3, 256)
    assert len(facts.key) == 16


def test_facts_of_a_bare_file(tmp_path):
    """Without metadata the classes are placeholders, and images are ImageNet's."""
    facts = checkpoint_facts(put(tmp_path, "vgg19_bare.safetensors", outputs=2))
    assert facts.class_names == ("class_0000", "class_0001")
    assert facts.placeholder_names
    assert facts.first is None


def test_first_in_words(tmp_path):
    """A sentence about the input is understood where it names the square."""
    text = "RGB, square, resized bilinear with antialias from 256x256"
    assert checkpoint_facts(put(tmp_path, "vgg19_a.safetensors", input=text)).first == 256


WORDS = "from scratch on train/, 12 epochs at 72 px, 6 at 112, 2 at 160, 1 at 224, AdamW"


@pytest.mark.parametrize(
    ("said", "size"),
    [
        ({"input": "32x48"}, (32, 48)),
        ({"input": "RGB, square, from 256x256"}, None),
        ({}, None),
        ({"input": "from 256x256", "trained": WORDS}, (224, 224)),
        ({"trained": "on leaves, 1 epoch at 64 px, AdamW"}, (64, 64)),
        ({"input": "32x48", "trained": WORDS}, (32, 48)),
        ({"trained": "10 epochs on stored features at 300x400, AdamW 0.001"}, None),
    ],
)
def test_the_size_that_weights_learnt_at(tmp_path, said, size):
    """Height and width, where the header says them; in words of each training, the last one."""
    assert checkpoint_facts(put(tmp_path, "vgg19_a.safetensors", **said)).learnt_size == size


@pytest.mark.parametrize(
    ("metadata", "complaint"),
    [
        ({"classes": '["ash"]'}, "names 1 classes, but the head has 3"),
        ({"classes": "ash"}, "should be a JSON list of names"),
        ({"mean": "0.5,0.5"}, "'mean' should be three numbers"),
        ({"std": "0,1,1"}, "'std' should be three numbers"),
        ({"first": "-3"}, "'first' should be a number of pixels"),
    ],
)
def test_metadata_that_contradicts(tmp_path, metadata, complaint):
    """A file that contradicts itself is refused with its name."""
    path = put(tmp_path, "vgg19_odd.safetensors", **metadata)
    with pytest.raises(WeightsError, match=f"vgg19_odd.*{complaint}"):
        checkpoint_facts(path)


def test_a_file_cut_off(tmp_path):
    """Half a file is told as such."""
    path = put(tmp_path, "vgg19_half.safetensors")
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(WeightsError, match="truncated"):
        checkpoint_facts(path)


def test_a_header_is_read_without_a_library(tmp_path):
    """As safetensors itself reads it."""
    path = put(tmp_path, "revisited-v1_leaves.safetensors", data="leaves 0123", first="256")
    assert checkpoints.said(path) == {"data": "leaves 0123", "first": "256"}
    assert checkpoints.said(tmp_path / "none") == {}
