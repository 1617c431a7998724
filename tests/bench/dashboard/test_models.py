"""What is offered, under which titles, and what is chosen first."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench.case import Case
from bench.command_line import parse
from bench.dashboard import building
from bench.dashboard.models import FIVE, Model, baseline, models, standing, title, usual
from bench.options import Options, UsageError
from export.artifact import Artifact, Store, folder_bytes, write_record
from export.variants import OWN
from runtimes import available
from tests.bench.dashboard.conftest import PREPROCESS, with_weights
from tests.bench.made_up import fake_artifact


@pytest.mark.parametrize(
    ("variant", "recipe", "expected"),
    [
        ("vgg19", "fp32", "Baseline"),
        ("vgg19-pruned", "fp32", "Pruned"),
        ("vgg19", "int8-dynamic", "Quantized"),
        ("vgg19-pruned", "int8-dynamic", "Pruned + Quantized"),
        ("vgg19-scaled-160", "fp32", "Input scaled"),
        ("vgg19-scaled-160", "int8-static", "Input scaled + Quantized (static)"),
        ("vgg19-gap", "fp32-opt", "Average pooling + Optimised"),
        ("revisited-v6", "fp32", "revisited-v6"),
    ],
)
def test_a_title_says_what_was_done(variant: str, recipe: str, expected: str) -> None:
    """To the baseline, in the words of who asks about it."""
    assert title(variant, recipe) == expected


def stored(store: Path, key: str, recipe: str = "fp32", **changes: object) -> Artifact:
    """A file in a store, with its reference beside it."""
    shelf = Store(store)
    reference = shelf.folder("reference")
    if not reference.exists():
        reference.mkdir(parents=True)
        for name in ("inputs.npy", "logits.npy"):
            np.save(reference / name, np.zeros((1, 3), np.float32))
    with shelf.writing(key) as folder:
        (folder / "model.onnx").write_bytes(b"nothing opens this")
        artifact = replace(
            fake_artifact(folder, key),
            recipe=recipe,
            preprocess=PREPROCESS,
            size_bytes=folder_bytes(folder),
            reference=str(reference),
        )
        write_record(folder, replace(artifact, **changes))  # type: ignore[arg-type]
    found = shelf.find(key)
    assert found is not None
    return found


def test_what_stands_in_a_store_is_found(tmp_path: Path) -> None:
    """Of each kind the newest; no step on the way, and nothing that doesn't say what it takes."""
    old, new = stored(tmp_path, "old"), stored(tmp_path, "new")
    other = stored(tmp_path, "other", recipe="int8-static")
    stored(tmp_path, "step", recipe="prepare")
    stored(tmp_path, "mute", recipe="int8-dynamic", preprocess="")
    os.utime(tmp_path / "old" / "artifact.json", (1, 1))
    assert {one.key for one in standing(tmp_path)} == {new.key, other.key}
    assert old.key == "old"
    assert standing(tmp_path / "nowhere") == []


@pytest.mark.skipif("ort" not in available(), reason="needs onnxruntime")
def test_each_file_is_offered_in_each_runtime_that_opens_it(tmp_path: Path) -> None:
    """Where it is installed; never the harness's own, and with no more threads than it has."""
    found = models([stored(tmp_path, "a")], threads=2)
    names = [model.case.runtime for model in found]
    assert "ort" in names and "null" not in names
    threads = {model.case.runtime: model.case.threads for model in found}
    assert threads["ort"] == 2
    assert threads.get("tract", 1) == 1


def of(*rows: tuple[str, str, str]) -> list[Model]:
    """Models of no file."""
    return [
        Model(Case(*row, 1), replace(fake_artifact(Path()), variant=row[0], recipe=row[1]))
        for row in rows
    ]


def test_the_five_are_chosen_first_in_their_order() -> None:
    """Where they stand; the first of them is the baseline."""
    offered = of(
        *((variant, recipe, "ort") for variant, recipe, _ in reversed(FIVE)),
        ("vgg19-gap", "fp32", "ort"),
        ("vgg19", "fp32", "openvino"),
    )
    chosen = usual(offered)
    assert [(one.case.variant, one.case.recipe) for one in chosen] == [row[:2] for row in FIVE]
    first = baseline(chosen)
    assert first is not None and first.title == "Baseline"


def test_without_them_one_family_in_one_runtime_is_chosen() -> None:
    """The baseline's."""
    offered = of(
        ("revisited-base", "fp32", "ort"),
        ("revisited-v6", "fp32", "ort"),
        ("revisited-base", "fp32", "openvino"),
    )
    assert [one.name for one in usual(offered)] == [one.name for one in offered[:2]]
    assert usual([]) == []


def test_files_of_one_s_own_are_chosen_before_all_others() -> None:
    """Every recipe of each of them, in the runtime of the first."""
    recipes = ("fp32", "fp32-opt", "fp16-weights", "low-rank", "int4-weights", "int8-dynamic")
    own = [
        Model(replace(model.case, weights=OWN), model.artifact)
        for file in ("a.onnx", "b.onnx")
        for model in of(*((file, recipe, "ort") for recipe in (*recipes, "int8-static")))
    ]
    five = of(*((variant, recipe, "ort") for variant, recipe, _ in FIVE))
    other = [Model(replace(own[0].case, runtime="openvino"), own[0].artifact)]
    assert usual([*five, *own, *other]) == own
    assert len(own) == 14


def test_one_set_of_weights_is_chosen_first() -> None:
    """Trained before seeded ones, but not one file with nothing to compare it with."""
    seeded = of(*((variant, recipe, "ort") for variant, recipe, _ in FIVE))
    trained = [with_weights(one, "plants40") for one in seeded[:3]]
    assert usual([*seeded, *trained]) == trained
    assert usual([*seeded, *trained[:1]]) == seeded
    small = of(("revisited-base", "fp32", "ort"), ("revisited-v6", "fp32", "ort"))
    better = [with_weights(one, "cifar10") for one in small]
    assert usual([*small, *better]) == better
    assert [one.trained for one in (*small, *better)] == [False, False, True, True]


def test_what_is_built_follows_from_the_flags() -> None:
    """The five where nothing is named, else what a run would build but for its own row."""
    assert building.keys(Options(), building.USUAL) == FIVE
    words = ["-m", "revisited-v6,revisited-base", "--recipes", "fp32,int8-static"]
    options = parse([*words, "--runtimes", "null"])
    variants = {variant for variant, _, _ in building.keys(options, building.NAMED)}
    assert variants <= {"revisited-base", "revisited-v6"} and variants


def test_what_can_not_be_built_is_said() -> None:
    """With a reason, before a child is started."""
    options = parse(["-m", "revisited-v6", "--recipes", "int8-static", "--runtimes", "torch-eager"])
    with pytest.raises(UsageError, match=r"can be built here; revisited-v6@.*torch-eager"):
        building.cases(options)
