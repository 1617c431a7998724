"""The checkpoints that come with the package: what they say, and that they are right."""

from __future__ import annotations

import importlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="checkpoints are loaded into torch modules")

from export import weights  # noqa: E402
from export.checkpoints import TRAINED, checkpoint_of, weights_of  # noqa: E402
from export.images import ImageFolder, Preprocess, spread  # noqa: E402
from export.metadata import checkpoint_facts  # noqa: E402
from export.variants import VARIANTS, Variant  # noqa: E402

NETWORKS = [row for row in VARIANTS.values() if row.family == "revisited"]
CIFAR = Path(__file__).parents[3] / "shared" / "data" / "cifar10.zip"
STUDENTS = [row for row in VARIANTS.values() if row.family == "student"]
PLANTS = CIFAR.with_name("plants40.zip")
CLASSES = tuple("airplane automobile bird cat deer dog frog horse ship truck".split())
IMAGES = 500
LEAST_RIGHT = 0.6
"""Of the test part: the worst network has two in three, one in ten is a guess."""
LEAST_RIGHT_STUDENT = 0.9
"""Of the test part of the leaves: the one that learnt alone is right in 94.5 % of it."""


def module_of(variant: Variant) -> Any:
    """The network with its packaged weights."""
    path, _, name = variant.builder.partition(":")
    module = getattr(importlib.import_module(path), name)(variant.classes, variant.input_size)
    found = weights.read_checkpoint(Path(weights_of(variant.name)))
    return weights.apply(module, None, found)


@pytest.mark.parametrize("variant", NETWORKS, ids=lambda row: row.name)
def test_every_network_of_the_family_is_trained(variant: Variant) -> None:
    """A fresh clone has trained weights, which know their classes and how they were made."""
    path = checkpoint_of(variant.name, TRAINED)
    assert path is not None
    facts = checkpoint_facts(path)
    assert (facts.name, facts.class_names, facts.first) == ("cifar10", CLASSES, None)
    log = path.with_name(path.name.replace(".safetensors", ".train.jsonl"))
    lines = [json.loads(line) for line in log.read_text("utf-8").splitlines()]
    assert lines[0]["variant"] == variant.name
    assert lines[-1]["kind"] == "done"
    module_of(variant)


@pytest.mark.parametrize("variant", NETWORKS, ids=lambda row: row.name)
def test_a_packaged_network_knows_its_images(variant: Variant) -> None:
    """It is right about most images of the test part, which no training has seen."""
    if not CIFAR.exists():
        pytest.skip(f"{CIFAR.name} is not here: it is no part of the project")
    folder = ImageFolder.open(CIFAR)
    loaded = folder.load(spread(folder.part("test"), IMAGES, seed=5))
    inputs = Preprocess(variant.input_size).batch(loaded.images)
    with torch.inference_mode():
        answers = module_of(variant)(torch.from_numpy(inputs)).argmax(1).numpy()
    labels = np.array([entry.label for entry in loaded.entries])
    assert np.mean(answers == labels) > LEAST_RIGHT


@pytest.mark.parametrize("variant", STUDENTS, ids=lambda row: row.name)
def test_a_student_knows_its_leaves(variant: Variant) -> None:
    """Each has weights of its own, and is right about most images that no training has seen."""
    path = checkpoint_of(variant.name, TRAINED)
    assert path is not None
    facts = checkpoint_facts(path)
    assert (facts.name, len(facts.class_names)) == ("plants40", variant.classes)
    if not PLANTS.exists():
        pytest.skip(f"{PLANTS.name} is not here: it is no part of the project")
    folder = ImageFolder.open(PLANTS)
    assert facts.class_names == folder.class_names
    loaded = folder.load(spread(folder.part("test"), 200, seed=5))
    inputs = Preprocess(variant.input_size, facts.first).batch(loaded.images)
    with torch.inference_mode():
        answers = module_of(variant)(torch.from_numpy(inputs)).argmax(1).numpy()
    labels = np.array([entry.label for entry in loaded.entries])
    assert np.mean(answers == labels) > LEAST_RIGHT_STUDENT


def test_weights_that_change_during_a_build_are_told(tmp_path: Path) -> None:
    """What was built from other weights must not stand under these weights' key."""
    from export.build import Options
    from export.steps import Builder, Job

    path = Path(weights_of("revisited-base"))
    before = replace(checkpoint_facts(path), key="another")
    builder = Builder(Job(str(tmp_path), (), Options(), {"revisited-base": before}))
    with pytest.raises(ValueError, match="has changed since this build began"):
        builder.module("revisited-base")
