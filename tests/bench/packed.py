"""A measured row around a built file, for tests of bundles."""

from __future__ import annotations

from bench.block import file_facts
from bench.case import Case
from bench.chosen_row import Chosen
from bench.record import Measurement, Memory, Parity, Run
from bench.rows import tables_of
from export.artifact import Artifact
from tests.bench.made_up import header

RIGHT = Parity(1e-6, 1.0, 1.0, 16, passed=True)
WRONG = Parity(0.5, 0.1, 0.2, 16, passed=False)


def block(
    case: Case, artifact: Artifact, number: int = 0, parity: Parity | None = RIGHT, ms: float = 10.0
) -> Measurement:
    """One measured block of ``case`` with this file."""
    return Measurement(
        case,
        number,
        "ok",
        file=file_facts(artifact),
        load_s=0.01,
        first_s=0.02,
        latencies_ns=(int(ms * 1e6),) * 12,
        cpu_s=12 * case.threads * ms / 1e3,
        warmup_settled=True,
        memory=Memory(50_000_000, 90_000_000, 100_000_000),
        parity=parity if number == 0 else None,
        precision="fp32",
    )


def measured(case: Case, artifact: Artifact, parity: Parity | None = RIGHT) -> Run:
    """A run of that one case, three blocks of it."""
    blocks = tuple(block(case, artifact, number, parity) for number in range(3))
    return Run(header(cases=(case,)), blocks)


def chosen(case: Case, artifact: Artifact, parity: Parity | None = RIGHT) -> Chosen:
    """That case as it is picked from that run."""
    run = measured(case, artifact, parity)
    table = next(iter(tables_of(run).values()))
    return Chosen(run, table, table.rows[0])
