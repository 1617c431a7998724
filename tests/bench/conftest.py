"""Records and files that several tests of this folder start from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench.case import Case
from bench.record import (
    SCHEMA,
    Answers,
    FileFacts,
    Labelled,
    Measurement,
    Memory,
    Parity,
    Run,
    RunHeader,
)
from export.artifact import Artifact

MadeUp = Callable[..., Run]
Answered = Callable[..., Measurement]


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


@pytest.fixture
def run_of() -> MadeUp:
    """``run_of(*blocks, **changes)``: a run of these blocks, its header changed like that."""

    def make(*blocks: Measurement, **changes: object) -> Run:
        header = RunHeader(
            schema=SCHEMA,
            run="default-1",
            started="2026-01-02T10:00:00+00:00",
            command="python -m bench.run",
            commit="abc1234",
            suite="default",
            weights="seeded",
            data="built-in",
            blocks=3,
            seconds=0.6,
            host={"CPU": "one", "kernel": "Linux 6.1 x86_64", "Python": "CPython 3.11.7"},
            host_id="ff00",
            versions={"onnxruntime": "1.25.0"},
        )
        return Run(replace(header, **changes), blocks)  # type: ignore[arg-type]

    return make


@pytest.fixture
def answered() -> Answered:
    """``answered(case, ms, labelled, wrong)``: a block whose answers are right but for ``wrong``.

    ``wrong`` maps an image to the class that is named instead of the true one; with
    ``sample`` only those images were asked about, by the timed session.
    """

    def make(
        case: Case,
        ms: float,
        labelled: Labelled,
        wrong: Mapping[int, int],
        sample: Sequence[int] = (),
        size_bytes: int = 1_000_000,
        parameters: int = 250_000,
    ) -> Measurement:
        images = sample or range(len(labelled.labels))
        truth = labelled.labels
        found = Answers(
            tuple(wrong.get(image, truth[image]) for image in images),
            tuple(0 if wrong.get(i, truth[i]) == truth[i] else 1 + i % 4 for i in images),
            tuple(sample),
        )
        return Measurement(
            case,
            0,
            "ok",
            file=FileFacts(
                str(case), "0", "onnx", size_bytes, parameters, parameters, 0, 1, 1.0, 0
            ),
            latencies_ns=(int(ms * 1e6),) * 12,
            cpu_s=12 * case.threads * ms / 1e3,
            warmup_settled=True,
            memory=Memory(100_000_000, 200_000_000, 300_000_000),
            parity=Parity(0.0, 1.0, 1.0, 16, passed=True),
            precision="fp32",
            sampled=found if sample else None,
            answers=None if sample else found,
        )

    return make
