"""A laboratory in which no child is started: blocks come from a function of the test's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from bench.block import Effort
from bench.case import Case
from bench.files import file_key
from bench.method.experiment import Lab, Size
from bench.record import Canary, Measurement, Surroundings
from export.artifact import Artifact
from tests.bench.made_up import fake_artifact

MakeBlock = Callable[[Case, int, Artifact, Effort], Measurement]


def block(
    case: Case,
    number: int = 0,
    *,
    p50_ns: int = 1_000_000,
    foreign_cores: float = 0.0,
    canary_s: float = 0.01,
) -> Measurement:
    """A block of 20 inferences over half a second that all took ``p50_ns``."""
    return Measurement(
        case,
        number,
        "ok",
        latencies_ns=(p50_ns,) * 20,
        warmup_settled=True,
        surroundings=Surroundings(0.5, foreign_cores / 2, 0.0, 0, 0, 0.5, 0.5),
        canary=Canary(canary_s, canary_s),
    )


@pytest.fixture
def laboratory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[MakeBlock], None]:
    """``laboratory(make_block)``: every lab that is opened from then on makes its blocks so."""

    def arrange(make_block: MakeBlock) -> None:
        def lab(cases: Sequence[Case], size: Size, store: Path, show: object) -> Lab:
            files = {file_key(case): fake_artifact(tmp_path) for case in cases}
            return Lab(size, files, tmp_path, make_block)

        monkeypatch.setattr("bench.method.__main__.open_lab", lab)

    return arrange
