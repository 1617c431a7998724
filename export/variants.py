"""The variants: one row each, nothing clever.

This module is pure: the parts that need torch are named by dotted path
(``"export.models.vgg:vgg19"``) and are resolved only where a file is built.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

OWN = "own"
"""What the weights of a given file are called in row keys."""


@dataclass(frozen=True)
class Given:
    """A model file of the user's, in the place of code that builds a network.

    ``sha256`` covers its data files; ``batch`` is what its graph fixes, ``None``: nothing.
    ``preprocess`` is the JSON of an ``export.images.Preprocess``; no ``class_names``: nobody
    knows them, and with ``assumed_names`` they are those of the folders of some data, in whose
    order somebody said that the outputs stand. ``data_files`` are names beside ``file``, where
    the rest of its weights stand.
    """

    file: str
    sha256: str
    input: str
    output: str
    batch: int | None
    preprocess: str
    class_names: tuple[str, ...] = ()
    data_files: tuple[str, ...] = ()
    assumed_names: bool = False


@dataclass(frozen=True)
class Variant:
    """One network as it is to be shipped, before any file-level recipe.

    ``builder`` names a function ``(classes, input_size) -> torch.nn.Module``.
    ``surgery`` names a function ``module -> module`` that is applied after the
    weights of the unoperated network were loaded; a checkpoint that already has
    the operated shapes is loaded after it instead.
    """

    name: str
    family: str
    builder: str
    input_size: tuple[int, int]
    classes: int
    story: str
    surgery: str | None = None
    parent: str | None = None
    full_suite_only: bool = False
    own_weights: bool = False
    """Never its parent's checkpoint, though it would fit: the two differ in nothing else."""
    given: Given | None = None


@dataclass(frozen=True)
class Alias:
    """A second name for one variant under one recipe: never a further artifact."""

    name: str
    variant: str
    recipe: str
    story: str


def _revisited(suffix: str, story: str) -> Variant:
    name = f"revisited-{suffix}"
    return Variant(
        name,
        family="revisited",
        builder=f"export.models.revisited:{suffix}",
        input_size=(32, 32),
        classes=10,
        story=story,
        parent=None if suffix == "base" else "revisited-base",
    )


_ROWS = (
    Variant(
        "vgg19",
        family="vgg19",
        builder="export.models.vgg:vgg19",
        input_size=(224, 224),
        classes=1000,
        story="the baseline: 143.7 M parameters, 86 % of them in three fully connected layers",
    ),
    Variant(
        "vgg19-pruned",
        family="vgg19",
        builder="export.models.vgg:vgg19",
        input_size=(224, 224),
        classes=1000,
        surgery="export.surgery:prune_vgg19",
        parent="vgg19",
        story="the 10 % of filters of least L2 norm removed from the nine deepest convolutions",
    ),
    Variant(
        "vgg19-scaled-160",
        family="vgg19",
        builder="export.models.vgg:vgg19",
        input_size=(160, 160),
        classes=1000,
        parent="vgg19",
        story="the same weights on a 160x160 input: half the pixels",
    ),
    Variant(
        "vgg19-gap",
        family="vgg19",
        builder="export.models.vgg:vgg19_gap",
        input_size=(224, 224),
        classes=1000,
        parent="vgg19",
        story="global average pooling and one Linear instead of the fully connected stack",
    ),
    Variant(
        "xception",
        family="xception",
        builder="export.models.xception:xception",
        input_size=(299, 299),
        classes=1000,
        story="the standard one: depthwise separable convolutions, global average pooling",
    ),
    Variant(
        "xception-flatten",
        family="xception",
        builder="export.models.xception:xception_flatten",
        input_size=(300, 400),
        classes=40,
        parent="xception",
        story="2048 x 10 x 13 features flattened into Dense(256): 68 M weights in one layer",
    ),
    Variant(
        "xception-gap",
        family="xception",
        builder="export.models.xception:xception_gap",
        input_size=(300, 400),
        classes=40,
        parent="xception-flatten",
        story="the same head behind global average pooling: 0.5 M weights in that layer",
    ),
    Variant(
        "xception-flatten-wide",
        family="xception",
        builder="export.models.xception:xception_flatten_wide",
        input_size=(300, 400),
        classes=40,
        parent="xception-flatten",
        full_suite_only=True,
        story="flattened into Dense(2048): 566 M parameters, a file over protobuf's 2 GB limit",
    ),
    _revisited("base", "two residual blocks (3-10-20) and two fully connected layers"),
    _revisited("v1", "max pooling delayed: four blocks 2-6-8-20 (reconstruction)"),
    _revisited("v2", "one dense connection from the image into the second block"),
    _revisited("v3", "fire blocks 5-8-12-14-20-20 (reconstruction)"),
    _revisited("v4", "bottleneck blocks 8-8-10-10-14-20 (reconstruction)"),
    _revisited("v5", "depthwise separable blocks 16-17-18-18-18-20 (reconstruction)"),
    _revisited("v6", "global average pooling, and six blocks for the parameters it saves"),
    _revisited("alpha", "global average pooling with dense connections"),
    Variant(
        "student",
        family="student",
        builder="export.models.revisited:student",
        input_size=(64, 64),
        classes=40,
        full_suite_only=True,
        story="revisited-alpha for leaves, 64x64 pixels: trained alone",
    ),
    Variant(
        "student-taught",
        family="student",
        builder="export.models.revisited:student",
        input_size=(64, 64),
        classes=40,
        parent="student",
        full_suite_only=True,
        own_weights=True,
        story="the same network, taught by a trained Xception (knowledge distillation)",
    ),
)

VARIANTS: dict[str, Variant] = {row.name: row for row in _ROWS}

ALIASES: dict[str, Alias] = {
    alias.name: alias
    for alias in (
        Alias(
            "vgg19-quantized",
            variant="vgg19",
            recipe="int8-dynamic",
            story="vgg19 with its fully connected layers in INT8 (dynamic quantisation)",
        ),
        Alias(
            "vgg19-pruned-quantized",
            variant="vgg19-pruned",
            recipe="int8-dynamic",
            story="vgg19-pruned, then its fully connected layers in INT8: the order matters",
        ),
    )
}


def register(rows: Iterable[Variant]) -> None:
    """Let this process know given models by their names, as it knows the built-in variants.

    A ``ValueError`` where another model has the name already.
    """
    for row in rows:
        if VARIANTS.setdefault(row.name, row) != row:
            raise ValueError(f"two models are called {row.name}: rename one")


def shown_name(variant: str, recipe: str) -> str:
    """The name under which a variant with a recipe stands in a table."""
    for alias in ALIASES.values():
        if (alias.variant, alias.recipe) == (variant, recipe):
            return alias.name
    return variant


def weights_name(weights: str) -> str:
    """The short name of weights, which stands in row keys: "seeded", "imagenet", or a file's stem.

    A leading variant name is left out: ``vgg19-gap_plants40.safetensors`` is "plants40".
    """
    stem = Path(weights).stem
    variant, _, rest = stem.partition("_")
    return re.sub(r"[^\w.-]+", "-", rest if rest and variant in VARIANTS else stem)
