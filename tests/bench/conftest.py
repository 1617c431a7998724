"""Records that several tests of this folder start from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from bench.record import SCHEMA, Measurement, Run, RunHeader

MadeUp = Callable[..., Run]


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
