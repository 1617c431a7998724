"""Records and files that several tests of this folder start from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench.record import Measurement, Run
from export.artifact import Artifact
from tests.bench.made_up import fake_artifact, header

MadeUp = Callable[..., Run]


@pytest.fixture
def artifact(tmp_path: Path) -> Artifact:
    """A made-up file with a reference of four images and three classes."""
    chance = np.random.default_rng(0)
    reference = tmp_path / "reference"
    reference.mkdir()
    np.save(reference / "inputs.npy", chance.normal(size=(4, 3, 8, 8)).astype(np.float32))
    np.save(reference / "logits.npy", chance.normal(size=(4, 3)).astype(np.float32))
    (tmp_path / "model.onnx").write_bytes(b"nothing opens this")
    return replace(
        fake_artifact(tmp_path),
        input_size=(8, 8),
        class_names=("a", "b", "c"),
        reference=str(reference),
    )


@pytest.fixture
def run_of() -> MadeUp:
    """``run_of(*blocks, **changes)``: a run of these blocks, its header changed like that."""

    def make(*blocks: Measurement, **changes: object) -> Run:
        return Run(header(**changes), blocks)

    return make
