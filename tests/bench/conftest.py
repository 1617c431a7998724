"""Fixtures for tests that start measuring children."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from export.artifact import Artifact


@pytest.fixture
def artifact(tmp_path: Path) -> Artifact:
    """A made-up file with a reference of four images and three classes."""
    chance = np.random.default_rng(0)
    reference = tmp_path / "reference"
    reference.mkdir()
    np.save(reference / "inputs.npy", chance.normal(size=(4, 3, 8, 8)).astype(np.float32))
    np.save(reference / "logits.npy", chance.normal(size=(4, 3)).astype(np.float32))
    (tmp_path / "model.onnx").write_bytes(b"nothing opens this")
    return Artifact(
        key="k",
        variant="revisited-base",
        weights="seeded",
        recipe="fp32",
        format="onnx",
        folder=str(tmp_path),
        file="model.onnx",
        size_bytes=18,
        sha256="0",
        parameters=1,
        nonzero_parameters=1,
        rounded_to_zero=0,
        macs=1,
        input_size=(8, 8),
        class_names=("a", "b", "c"),
        placeholder_names=True,
        reference=str(reference),
    )
