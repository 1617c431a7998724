"""Records and files that several tests of this folder start from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.case import Case
from bench.record import Answers, FileFacts, Labelled, Measurement, Memory, Parity, Run
from export.artifact import Artifact
from tests.bench import browser
from tests.bench.made_up import fake_artifact, header

MadeUp = Callable[..., Run]
Answered = Callable[..., Measurement]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """One browser for the tests of a module; each page has a context of its own.

    No longer: as long as it runs, playwright keeps others from having an event loop.
    """
    pytest.importorskip("playwright.sync_api", reason="needs playwright (pip install)")
    if browser.chromium_path() is None:
        pytest.skip("there is no chromium: install it, or name it in DEPLOYBENCH_CHROMIUM")
    with browser.launched() as found:
        yield found


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
