"""Stored rows beside the cards."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bench.case import Case
from bench.dashboard import stored
from bench.dashboard.models import Model
from tests.bench.dashboard.conftest import BASE, INT8
from tests.bench.made_up import fake_artifact


def model(case: Case, key: str) -> Model:
    """An offered model with one thread less than the stored rows have."""
    return Model(replace(case, threads=1), replace(fake_artifact(Path(), key), recipe=case.recipe))


def test_rows_of_a_model_are_found(records: Path) -> None:
    """Whatever their threads; those of the same file first, the newest before others."""
    base, other = model(BASE, str(BASE)), model(INT8, "another")
    found = stored.find(records, [base, other])
    first, second = (one.shown for one in found[base.name])
    assert (first.run, first.same_file, second.run, second.same_file) == (
        *("new-1", True),
        *("old-1", False),
    )
    assert first.row == str(BASE)
    assert first.speedup == "reference"
    assert first.median.startswith("8.0")
    assert first.accuracy.startswith("80")
    (third,) = (one.shown for one in found[other.name])
    assert third.speedup.startswith("2.0")
    assert not third.same_file


def test_accuracy_of_another_build_is_told_as_that(records: Path) -> None:
    """It answers much alike; of the same file comes first."""
    base, other = model(BASE, str(BASE)), model(INT8, "another")
    found = stored.accuracies(stored.find(records, [base, other]))
    assert [(name, one.same_file) for name, one in found.items()] == [
        (base.name, True),
        (other.name, False),
    ]
    assert found[base.name].share.value == pytest.approx(0.8)
    assert (found[base.name].images, found[base.name].data) == (1000, "images.zip")
