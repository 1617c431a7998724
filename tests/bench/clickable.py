"""Runs that have one of everything that a page to click through shows."""

from __future__ import annotations

from dataclasses import replace

from bench.case import AGAIN, NULL, Case
from bench.record import (
    Answers,
    Canary,
    ColdStart,
    Execution,
    Labelled,
    Measurement,
    Memory,
    Run,
    Surroundings,
)
from export.variants import OWN
from tests.bench.made_up import answering, header, measured

HOSTILE = "</script><img src=x onerror=alert(1)>$$x$$ `b` **c**"
"""A name that would end a script, be an element, mathematics and Markdown."""
EAGER = Case("vgg19", "fp32", "torch-eager", 2)
TWIN = replace(EAGER, copy=AGAIN)
OPT = Case("vgg19", "fp32-opt", "ort", 2)
STATIC = Case("vgg19", "int8-static", "ort", 2)
DOUBTFUL = Case("vgg19-gap", "int8-static", "openvino", 2)
IMPOSSIBLE = Case("vgg19", "fp32", "tract", 2)
HARNESS = Case("vgg19", "fp32", NULL, 2)
GIVEN = Case(HOSTILE, "fp32", "ort", 2, weights=OWN)
LABELLED = Labelled("images.zip", "test", "f00d", ("oak", HOSTILE, "ash"), (0, 1, 2) * 100)
_MS = {
    EAGER: 250.0,
    TWIN: 251.0,
    OPT: 186.0,
    STATIC: 50.0,
    DOUBTFUL: 9.5,
    HARNESS: 2e-4,
    GIVEN: 3.0,
}
_ROUNDS = (1.0, 1.02, 0.99)
"""How fast the machine was in each round."""


def run(name: str = "default-1", scale: float = 1.0, only: float = 1.0) -> Run:
    """Seven rows that were measured and one that can't be.

    Every time is ``scale`` times as long, that of ``STATIC`` by ``only`` besides.
    """
    blocks = [
        _block(block, ms * factor)
        for case, ms in _MS.items()
        for block, factor in zip(
            _measured(case),
            (scale * (only if case == STATIC else 1) * r for r in _ROUNDS),
            strict=True,
        )
    ]
    refused = Measurement(IMPOSSIBLE, 0, "unsupported", "tract can't open `Gemm` with **this**")
    found = header(run=name, labelled=LABELLED, command=f"python -m bench.run -m '{HOSTILE}'")
    return Run(found, (*blocks, refused))


def _measured(case: Case) -> list[Measurement]:
    return measured(case, *_ROUNDS, passed=case != HARNESS, answers=_answers(case))


def _answers(case: Case) -> Answers | None:
    wrong = {EAGER: 10, OPT: 10, STATIC: 25, DOUBTFUL: 90}
    return answering(LABELLED, wrong[case]) if case in wrong else None


def _block(block: Measurement, ms: float) -> Measurement:
    """A block of 200 inferences, all different, with all that a block may tell."""
    latencies = tuple(int(1e6 * ms * (1 + 0.002 * (7 * place % 13))) for place in range(200))
    busy = 0.4 if block.case == DOUBTFUL else 0.01
    wall_s = sum(latencies) / 1e9
    first = block.round == 0
    return replace(
        block,
        latencies_ns=latencies,
        started=f"2026-01-02T10:0{block.round}:00+00:00",
        runtime_version="1.2.3",
        precision="fp32",
        notes={"providers": HOSTILE},
        import_s=0.3,
        read_s=0.01,
        first_s=2e-3 * ms,
        warmup_s=0.6,
        warmup_inferences=30,
        cpu_s=1.9 * wall_s,
        cold_start_s=0.41 + 2e-3 * ms,
        cold=ColdStart(0.3, 0.2, 0.1, 2e-3 * ms, 0.6 + 2e-3 * ms, 0.0) if first else None,
        memory=Memory(90_000_000, 400_000_000, 500_000_000, 300_000_000, 100_000_000, 60_000_000),
        surroundings=Surroundings(wall_s, busy * wall_s, 0.0, 3, 4, wall_s, wall_s),
        canary=Canary(0.1, 0.1),
        execution=_execution(block.case) if first and block.case in (STATIC, GIVEN) else None,
    )


def _execution(case: Case) -> Execution:
    """One of the two was profiled."""
    operators, macs = {"QLinearConv": 16, HOSTILE: 2}, {"int8": 900, "fp32": 100}
    times_us = {"QLinearConv": 900.0, HOSTILE: 100.0} if case == STATIC else {}
    return Execution("a profile", macs, operators, 2, 1, operator_us=times_us)
