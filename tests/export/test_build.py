"""Keys and chains: what is built anew when something changes, and what is not."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

from export import build
from export.build import SEEDED, Context, Int8, Options, Wanted, chain, int8_of
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


@pytest.mark.parametrize(
    "int8",
    [
        Int8("entropy"),
        Int8(percentile=99.9),
        Int8(images=17),
        Int8(per_channel=False),
        Int8(activation_type="s8"),
        Int8(weight_type="u8"),
        Int8(reduce_range=True),
        Int8(keep_fp32=("Conv_0",)),
    ],
)
def test_whatever_is_chosen_for_a_variant_enters_its_key(int8: Int8) -> None:
    """Every field of Int8 makes another quantised file, of that variant only."""
    other = replace(CONTEXT, options=Options(int8={"revisited-base": int8}))
    assert keys(other)[:-1] == keys(CONTEXT)[:-1]
    assert keys(other)[-1] != keys(CONTEXT)[-1]
    elsewhere = replace(CONTEXT, options=Options(int8={"revisited-v6": int8}))
    assert keys(elsewhere) == keys(CONTEXT)


def test_every_field_of_int8_is_tried_above() -> None:
    """A new field has to be added there."""
    assert len(fields(Int8)) == 8


def test_a_choice_equal_to_the_flags_is_the_same_file() -> None:
    """Whether ranges come from flags or from a choice file makes no difference."""
    flags = Options(calibration_method="percentile", calibration_images=64)
    choice = Options(int8={"revisited-base": Int8("percentile", images=64)})
    ours, theirs = (keys(replace(CONTEXT, options=x)) for x in (flags, choice))
    assert ours == theirs


def test_a_remedy_sets_its_own_types_over_a_choice() -> None:
    """The recipes for CPUs without VNNI keep the choice but for what makes them one."""
    options = Options(int8={"vgg19": Int8("entropy", activation_type="s8")})
    assert int8_of("quantize-static-7bit", "vgg19", options) == Int8(
        "entropy", activation_type="s8", reduce_range=True
    )
    assert int8_of("quantize-static-u8u8", "vgg19", options) == Int8("entropy", weight_type="u8")
    assert int8_of("quantize-static", "vgg19", Options(calibration_percentile=99.9)) == Int8(
        percentile=99.9
    )


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
