"""The work of each layer in the artifacts of every format, built by the real chain."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bench.case import Case, file_format, unsupported
from export.artifact import Artifact

Built = Callable[[str, str, str], Artifact]
VARIANT = "revisited-v6"
MACS = 10_854_900
WEIGHTS = 135_860
"""Weights and biases of the convolutions and the fully connected layer."""


def artifact(recipe: str, runtime: str, built: Built, precision: str = "fp32") -> Artifact:
    """The file that a runtime opens, or a skip that says what is not installed."""
    case = Case(VARIANT, recipe, runtime, 1, precision=precision)
    if reason := unsupported(case):
        pytest.skip(reason)
    return built(VARIANT, recipe, file_format(case) or "")


@pytest.mark.parametrize(
    ("recipe", "runtime", "bytes_each"),
    [
        ("fp32", "ort", 4),
        ("fp32-opt", "ort", 4),  # its own operators can't be counted: those of its source
        ("fp32-slim", "ort", 4),
        ("fp32", "torch-eager", 4),
        ("fp32", "ncnn", 4),
        ("fp16-weights", "ncnn", 2),
        ("fp32", "mnn", 4),
        ("fp16-weights", "mnn", 2),
    ],
)
def test_every_file_tells_its_layers(
    recipe: str, runtime: str, bytes_each: int, built: Built
) -> None:
    """Counted from the graph, else taken from the module or the file before it."""
    found = artifact(recipe, runtime, built).layers
    assert sum(layer.macs for layer in found) == MACS
    assert sum(layer.weight_bytes for layer in found) == bytes_each * WEIGHTS
    assert {layer.precision for layer in found} == {"fp32"}


@pytest.mark.parametrize(
    ("recipe", "runtime", "int8"),
    [
        ("int8-static", "ort", MACS),
        ("int8-dynamic", "ort", 500),
        ("int8-dynamic", "torch-eager", 500),
        ("int8-static", "mnn", MACS),
        ("fp32", "ort", 0),
    ],
)
def test_every_file_tells_what_it_has_in_int8(
    recipe: str, runtime: str, int8: int, built: Built
) -> None:
    """All of it, or only the fully connected layer of 50 by 10."""
    found = artifact(recipe, runtime, built).layers
    assert sum(layer.macs for layer in found if layer.precision == "int8") == int8
