"""Keys and chains: what is built anew when something changes, and what is not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from export import build
from export.build import SEEDED, Context, Options, Wanted, chain
from export.recipes import RECIPES, STEPS
from export.variants import VARIANTS

CONTEXT = Context(Options(), data_key="photographs")


def keys(context: Context, recipe: str = "int8-static", format: str = "onnx") -> list[str]:
    """The keys along one chain of the smallest variant."""
    return [node.key for node in chain(Wanted("revisited-base", recipe, format), context)]


def test_recipes_share_their_common_steps() -> None:
    """Every prefix of a chain is one artifact: one export serves all recipes."""
    assert keys(CONTEXT, "fp32")[1] == keys(CONTEXT, "int8-static")[1]
    assert keys(CONTEXT, "int8-dynamic")[2] == keys(CONTEXT, "int8-static")[2]


def test_a_chain_ends_in_the_format_that_it_is_for() -> None:
    """And every step on the way makes what the next one reads."""
    for recipe in RECIPES.values():
        for format, steps in recipe.chains.items():
            assert STEPS[steps[-1]].makes == format, (recipe.name, format)
            assert STEPS[steps[0]].source == "module"
            assert all(STEPS[step].source == "file" for step in steps[1:])


def test_an_intermediate_file_is_the_same_artifact_in_every_chain() -> None:
    """The .onnx that MNN's converter reads is the one that onnxruntime opens."""
    onnx, mnn = (keys(CONTEXT, "fp32", name) for name in ("onnx", "mnn"))
    assert onnx[1] == mnn[1]
    nodes = chain(Wanted("revisited-base", "fp32", "mnn"), CONTEXT)
    assert [node.format for node in nodes] == ["npy", "onnx", "mnn"]
    assert nodes[1].recipe == "fp32"


def test_changing_one_option_rebuilds_exactly_what_depends_on_it() -> None:
    """The calibration method reaches the quantised file and nothing before it."""
    other = replace(CONTEXT, options=Options(calibration_method="entropy"))
    assert keys(other)[:-1] == keys(CONTEXT)[:-1]
    assert keys(other)[-1] != keys(CONTEXT)[-1]
    assert keys(other, "fp32-opt") == keys(CONTEXT, "fp32-opt")


def test_other_images_change_the_reference_and_the_calibrated_file() -> None:
    """Parity inputs and calibration come from the data; the export does not."""
    changed = [
        a != b for a, b in zip(keys(CONTEXT), keys(replace(CONTEXT, data_key="x")), strict=True)
    ]
    assert changed == [True, False, False, True]


def test_other_weights_change_every_key() -> None:
    """No file of one set of weights is ever taken for that of another."""
    others = replace(SEEDED, name="other", key="other")
    other = replace(CONTEXT, weights={"revisited-base": others})
    assert not set(keys(CONTEXT)) & set(keys(other))


def test_weights_of_another_variant_change_nothing() -> None:
    """A checkpoint is one variant's."""
    others = replace(SEEDED, name="other", key="other")
    assert keys(replace(CONTEXT, weights={"revisited-v1": others})) == keys(CONTEXT)


def test_another_library_version_changes_what_it_wrote(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new onnxruntime makes new files; the reference is torch's alone."""
    before = keys(CONTEXT)
    version = build._version
    monkeypatch.setattr(
        build, "_version", lambda name: "99" if name == "onnxruntime" else version(name)
    )
    after = keys(CONTEXT)
    assert after[0] == before[0]
    assert not set(after[1:]) & set(before[1:])


def test_a_changed_source_file_changes_the_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """The code of a step is part of its key."""
    before = keys(CONTEXT)
    digest = build._source_digest
    monkeypatch.setattr(
        build, "_source_digest", lambda m: "new" if m == "export.quantize" else digest(m)
    )
    assert [a == b for a, b in zip(before, keys(CONTEXT), strict=True)] == [
        True,
        True,
        False,
        False,
    ]


def test_only_host_bound_steps_depend_on_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """A graph optimised for an instruction set is this host's; other files travel."""
    before = {recipe: keys(CONTEXT, recipe)[-1] for recipe in ("fp32", "fp32-opt", "int8-static")}
    monkeypatch.setattr(build, "instruction_sets", lambda: "another CPU")
    after = {recipe: keys(CONTEXT, recipe)[-1] for recipe in before}
    assert [before[r] == after[r] for r in before] == [True, False, True]


def test_an_intermediate_file_bears_the_recipe_that_ends_there() -> None:
    """The export inside int8-static says fp32 about itself."""
    nodes = chain(Wanted("vgg19", "int8-static", "onnx"), CONTEXT)
    assert [node.recipe for node in nodes] == ["reference", "fp32", "prepare", "int8-static"]


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_chain_of_every_variant_can_be_planned(variant: str) -> None:
    """All dotted paths of both tables lead to existing modules."""
    for recipe in RECIPES.values():
        for format, steps in recipe.chains.items():
            nodes = chain(Wanted(variant, recipe.name, format), CONTEXT)
            assert [node.step for node in nodes[1:]] == list(steps)
            assert set(steps) <= set(STEPS)
