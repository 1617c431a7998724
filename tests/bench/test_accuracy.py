"""Fast and wrong is wrong: what parity lets through."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.accuracy import LIMITS, agreement, judged_precision, parity_limit
from bench.case import Case
from export.recipes import RECIPES

RNG = np.random.default_rng(5)
REFERENCE = (RNG.normal(size=(16, 40)) + 3 * RNG.normal(size=40)).astype(np.float32)
LARGEST = float(np.abs(REFERENCE).max())
PRECISIONS = sorted(LIMITS)


def off_by(share: float) -> np.ndarray:
    """The reference with one output wrong by a share of the largest one."""
    outputs = REFERENCE.copy()
    outputs[3, 4] += share * LARGEST
    return outputs


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_reference_agrees_with_itself(precision) -> None:
    """No error, cosine 1, every top-1 the same, over all images."""
    parity = agreement(REFERENCE, REFERENCE, precision)
    assert parity.passed
    assert (parity.max_error, parity.top1_agreement, parity.images) == (0, 1, 16)
    assert parity.cosine == pytest.approx(1)


@pytest.mark.parametrize(("precision", "share"), [("fp32", 5e-4), ("fp16", 5e-3), ("bf16", 3e-2)])
def test_error_is_held_to_a_share_of_the_largest_output(precision, share) -> None:
    """Just below the limit passes, just above fails; the error is that share."""
    assert agreement(off_by(0.98 * share), REFERENCE, precision).passed
    beyond = agreement(off_by(1.02 * share), REFERENCE, precision)
    assert not beyond.passed
    assert beyond.max_error == pytest.approx(1.02 * share, rel=1e-2)


def test_int8_is_held_to_the_centred_cosine() -> None:
    """What all images share does not count: it would hide that nothing else is right."""
    mean = REFERENCE.mean(axis=0)
    noise = RNG.normal(size=REFERENCE.shape) * (REFERENCE - mean).std()
    good = agreement(REFERENCE + 0.2 * noise, REFERENCE, "int8")
    poor = agreement(REFERENCE + 1.0 * noise, REFERENCE, "int8")
    assert good.passed
    assert good.cosine == pytest.approx(1 / math.sqrt(1 + 0.2**2), abs=0.02)
    assert not poor.passed
    assert poor.cosine == pytest.approx(1 / math.sqrt(2), abs=0.05)


def test_a_shift_of_all_outputs_is_an_error_too() -> None:
    """The reference's mean is taken from both: what ours adds to every image stays visible."""
    spread = REFERENCE - REFERENCE.mean(axis=0)
    shift = RNG.normal(size=40) * spread.std()
    size = np.linalg.norm(spread) / np.hypot(np.linalg.norm(spread), 4 * np.linalg.norm(shift))
    parity = agreement(REFERENCE + shift, REFERENCE, "int8")
    assert parity.cosine == pytest.approx(size, rel=1e-4)
    assert not parity.passed


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("constant", [np.zeros(40), np.ones(40), REFERENCE.mean(axis=0)])
def test_a_constant_answer_fails(precision, constant) -> None:
    """What ``null`` does, even with the best constant there is."""
    outputs = np.tile(constant, (16, 1)).astype(np.float32)
    parity = agreement(outputs, REFERENCE, precision)
    assert not parity.passed
    assert parity.cosine == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_constant_fails_where_the_reference_hardly_varies(precision) -> None:
    """A network that answers every image alike proves nothing, whoever agrees with it."""
    flat = np.tile(REFERENCE[0], (16, 1))
    nearly = flat + 1e-6 * REFERENCE
    assert not agreement(flat, nearly, precision).passed
    assert not agreement(flat, flat, precision).passed


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_one_number_that_is_none_fails(precision, value) -> None:
    """NaN compares false with every limit: it must not slip through, on either side."""
    outputs = REFERENCE.copy()
    outputs[15, 39] = value
    for parity in (
        agreement(outputs, REFERENCE, precision),
        agreement(REFERENCE, outputs, precision),
    ):
        assert not parity.passed
        assert parity.max_error == math.inf


@pytest.mark.parametrize("shape", [(15, 40), (16, 39), (40, 16), (640,), (1, 16, 40)])
def test_another_shape_fails_rather_than_broadcasts(shape) -> None:
    """One image's outputs would broadcast over all of them."""
    parity = agreement(np.resize(REFERENCE, shape), REFERENCE, "fp32")
    assert not parity.passed
    assert parity.max_error == math.inf


def test_swapped_images_fail() -> None:
    """Right answers to the wrong images are wrong."""
    assert not any(agreement(REFERENCE[::-1], REFERENCE, name).passed for name in PRECISIONS)


@given(st.integers(0, 15))
def test_top1_agreement_counts_images(count) -> None:
    """The share of images with the same largest output."""
    outputs = REFERENCE.copy()
    for image in range(count):
        outputs[image, outputs[image].argmin()] = outputs[image].max() + 1
    assert agreement(outputs, REFERENCE, "int8").top1_agreement == (16 - count) / 16


def test_what_cannot_be_judged_is_refused() -> None:
    """An unknown precision names the known ones; a reference must hold images."""
    with pytest.raises(ValueError, match="'int3'.*fp32, fp16"):
        agreement(REFERENCE, REFERENCE, "int3")
    with pytest.raises(ValueError, match="images, classes"):
        agreement(REFERENCE[:0], REFERENCE[:0], "fp32")


@pytest.mark.parametrize(
    ("recipe", "precision", "judged"),
    [
        ("fp32", "fp32", "fp32"),
        ("fp32-opt", "fp32", "fp32"),
        ("fp32", "bf16", "bf16"),
        ("int8-static", "fp32", "int8"),
        ("int8-dynamic", "bf16", "int8"),
    ],
)
def test_a_row_is_judged_by_what_it_stores_else_by_what_it_computes_in(
    recipe, precision, judged
) -> None:
    """INT8 files have INT8's limit; an fp32 file run in bf16 has that of bf16."""
    assert judged_precision(Case("vgg19", recipe, "ort", 2, precision=precision)) == judged


@pytest.mark.parametrize(
    ("recipe", "precision", "limit"),
    [
        ("fp32", "bf16", "bf16"),
        ("int8-static", "fp32", "int8"),
        ("int4-weights", "fp32", "int4"),
        ("low-rank", "fp32", "low-rank"),
        ("low-rank", "bf16", "low-rank"),
        ("fp16-weights", "fp32", "fp16"),
        ("fp32-slim", "fp32", "fp32"),
    ],
)
def test_another_network_is_held_to_a_limit_of_its_own(recipe, precision, limit) -> None:
    """A split network computes in fp32 and is none: its outputs differ by what was left out."""
    assert parity_limit(Case("vgg19", recipe, "ort", 2, precision=precision)) == limit
    assert limit in LIMITS


def test_every_recipe_has_a_limit() -> None:
    """No row is left without a parity."""
    assert all(parity_limit(Case("vgg19", name, "ort", 2)) in LIMITS for name in RECIPES)
