"""A file and a run's header that stand for any: tests change what they are about."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from bench.record import SCHEMA, RunHeader
from export.artifact import Artifact


def fake_artifact(folder: Path, key: str = "k") -> Artifact:
    """A file in ``folder`` that no runtime opens; it need not be there."""
    return Artifact(
        key=key,
        variant="revisited-base",
        weights="seeded",
        recipe="fp32",
        format="onnx",
        folder=str(folder),
        file="model.onnx",
        size_bytes=1_000_000,
        sha256="0",
        parameters=136_380,
        nonzero_parameters=136_380,
        rounded_to_zero=0,
        macs=1,
        input_size=(32, 32),
        class_names=("a", "b"),
        placeholder_names=True,
        reference=str(folder),
    )


def header(**changes: object) -> RunHeader:
    """The header of a run of the default suite, changed like that."""
    plain = RunHeader(
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
    return replace(plain, **changes)  # type: ignore[arg-type]
