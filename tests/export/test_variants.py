from __future__ import annotations

import importlib
import inspect
import subprocess
import sys
from operator import attrgetter

import pytest

from export.recipes import RECIPES
from export.variants import ALIASES, VARIANTS, shown_name, weights_name

NAMES = {
    "vgg19",
    "vgg19-pruned",
    "vgg19-quantized",
    "vgg19-pruned-quantized",
    "vgg19-scaled-160",
    "vgg19-gap",
    "xception",
    "xception-flatten",
    "xception-gap",
    "xception-flatten-wide",
    "revisited-base",
    *(f"revisited-v{number}" for number in range(1, 7)),
    "revisited-alpha",
    "student",
    "student-taught",
}


def resolve(path: str):
    """The function that a dotted path names."""
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)


def test_names():
    """All variants and aliases that the seeds name are there, and no others."""
    assert {*VARIANTS, *ALIASES} == NAMES
    assert all(name == row.name for name, row in VARIANTS.items())
    assert all(name == row.name for name, row in ALIASES.items())


@pytest.mark.parametrize("variant", VARIANTS.values(), ids=attrgetter("name"))
def test_builders_resolve(variant):
    """A row's builder takes classes and an input size; its surgery takes a module."""
    assert list(inspect.signature(resolve(variant.builder)).parameters) == ["classes", "input_size"]
    if variant.surgery:
        assert len(inspect.signature(resolve(variant.surgery)).parameters) == 1


@pytest.mark.parametrize("variant", VARIANTS.values(), ids=attrgetter("name"))
def test_defaults_agree_with_the_table(variant):
    """What a builder does by default is what its row says, but for other sizes of one network."""
    defaults = {
        name: parameter.default
        for name, parameter in inspect.signature(resolve(variant.builder)).parameters.items()
    }
    assert defaults["classes"] == variant.classes
    if variant.name != "vgg19-scaled-160":
        assert defaults["input_size"] == variant.input_size


@pytest.mark.parametrize("variant", VARIANTS.values(), ids=attrgetter("name"))
def test_parents_are_family(variant):
    """A parent is another variant of the same family, and the line of parents ends."""
    line = [variant.name]
    while (parent := VARIANTS[line[-1]].parent) is not None:
        assert VARIANTS[parent].family == variant.family
        assert parent not in line
        line.append(parent)


def test_what_is_left_to_the_full_suite():
    """Every other variant belongs to the default suite."""
    left = [variant.name for variant in VARIANTS.values() if variant.full_suite_only]
    assert left == ["xception-flatten-wide", "student", "student-taught"]


@pytest.mark.parametrize("alias", ALIASES.values(), ids=attrgetter("name"))
def test_aliases_fix_a_recipe(alias):
    """An alias is another name for one known variant under one known recipe."""
    assert alias.name not in VARIANTS
    assert alias.variant in VARIANTS
    assert alias.recipe in RECIPES
    assert shown_name(alias.variant, alias.recipe) == alias.name


def test_other_rows_show_their_own_name():
    """Only the aliased pairs have another name in a table."""
    assert shown_name("vgg19", "fp32") == "vgg19"
    assert shown_name("vgg19-gap", "int8-dynamic") == "vgg19-gap"


def test_table_needs_no_torch():
    """Whoever plans a run reads the table without loading torch."""
    code = "import sys, export.variants; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("seeded", "seeded"),
        ("a/vgg19-gap_plants40.safetensors", "plants40"),
        ("my_net.pt", "my_net"),
    ],
)
def test_weights_have_a_short_name(given: str, name: str) -> None:
    """A file's stem, without the variant that stands before the last underscore."""
    assert weights_name(given) == name
