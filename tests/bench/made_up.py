"""A file, a run's header and blocks that stand for any: tests change what they are about."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from bench.case import Case
from bench.record import (
    SCHEMA,
    Answers,
    FileFacts,
    Labelled,
    Measurement,
    Memory,
    Parity,
    RunHeader,
)
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


def measured(
    case: Case,
    *ms: float,
    size_bytes: int = 1_000_000,
    peak_bytes: int = 300_000_000,
    load_s: float = 0.1,
    inferences: int = 40,
    passed: bool = True,
    answers: Answers | None = None,
) -> list[Measurement]:
    """A quiet block for each of ``ms``: all its inferences take as long."""
    file = FileFacts(str(case), "0", "onnx", size_bytes, 1, 1, 0, 1, 1.0, 0)
    return [
        Measurement(
            case,
            number,
            "ok",
            file=file,
            load_s=load_s,
            latencies_ns=(round(1e6 * value),) * inferences,
            warmup_settled=True,
            memory=Memory(100_000_000, 200_000_000, peak_bytes),
            parity=Parity(0.0, 1.0, 1.0, 16, passed) if number == 0 else None,
            block_s=10.0,
            answers=answers if number == 0 else None,
        )
        for number, value in enumerate(ms)
    ]


def answering(labelled: Labelled, wrong: int, first: int = 0) -> Answers:
    """Right answers to all images but ``wrong`` of them, from the ``first`` on."""
    lost = range(first, first + wrong)
    count = len(labelled.class_names)
    predicted = tuple(
        (label + 1) % count if place in lost else label
        for place, label in enumerate(labelled.labels)
    )
    ranks = tuple(int(place in lost) for place in range(len(labelled.labels)))
    return Answers(predicted, ranks)


def thousand_images() -> Labelled:
    """Labels of a thousand images in ten classes."""
    names = tuple("abcdefghij")
    return Labelled("images.zip", "test", "f00d", names, tuple(i % 10 for i in range(1000)))
