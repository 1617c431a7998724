"""Which row a key means, and what keeps it from being shipped."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bench.bundle_text import numbers
from bench.case import Case
from bench.chosen_row import choose, objections
from bench.options import UsageError
from bench.record import Run, Surroundings, write_run
from export.artifact import Artifact
from tests.bench.packed import WRONG, block, chosen, measured

V6 = Case("revisited-v6", "fp32", "ort", 2)
INT8 = replace(V6, recipe="int8-static")
ALIASED = Case("vgg19", "int8-dynamic", "ort", 2)


def written(out: Path, *runs: Run) -> Path:
    """A results folder with these runs."""
    (out / "records").mkdir(parents=True)
    for number, run in enumerate(runs):
        write_run(out / "records" / f"default-{number}.jsonl", run)
    return out


def run_of(artifact: Artifact, *cases: Case, started: str = "2026-01-02") -> Run:
    """A run in which each case has a block."""
    head = replace(measured(cases[0], artifact).header, cases=cases, started=started)
    return Run(head, tuple(block(case, artifact) for case in cases))


def test_a_key_as_the_page_shows_it(tmp_path: Path, artifact: Artifact) -> None:
    """By the row key, and by the name under which a table shows the variant."""
    out = written(tmp_path / "out", run_of(artifact, V6, INT8, ALIASED))
    assert choose(out, str(INT8)).case == INT8
    assert choose(out, "vgg19-quantized/int8-dynamic/ort/t2/b1").case == ALIASED
    assert choose(out, str(ALIASED)).case == ALIASED


def test_a_part_of_a_key_where_it_means_one_row(tmp_path: Path, artifact: Artifact) -> None:
    """A beginning or a glob; of several rows the error names them."""
    out = written(tmp_path / "out", run_of(artifact, V6, INT8))
    assert choose(out, "revisited-v6/int8-static").case == INT8
    assert choose(out, "*int8*").case == INT8
    with pytest.raises(UsageError, match="means 2 rows; name one of: revisited-v6/fp32"):
        choose(out, "revisited-v6")


def test_the_nearest_names_are_told(tmp_path: Path, artifact: Artifact) -> None:
    """A slip of the hand is answered with what there is."""
    out = written(tmp_path / "out", run_of(artifact, V6, INT8))
    with pytest.raises(UsageError, match="the nearest are: revisited-v6/int8-static/ort/t2/b1"):
        choose(out, "revisited-v6/int8/ort/t2/b1")


def test_the_newest_run_that_measured_it_counts(tmp_path: Path, artifact: Artifact) -> None:
    """Not one that only planned it; another by its name."""
    old = run_of(artifact, V6, started="2026-01-01")
    newer = run_of(artifact, V6, INT8, started="2026-01-03")
    planned = Run(replace(newer.header, started="2026-01-05"), ())
    out = written(tmp_path / "out", old, newer, planned)
    assert choose(out, str(V6)).run.header.started == "2026-01-03"
    assert choose(out, str(V6), "default-0").run.header.started == "2026-01-01"
    with pytest.raises(UsageError, match="no run 'x'; it has default-0"):
        choose(out, str(V6), "x")


def test_rows_about_something_else_are_no_rows_to_ship(tmp_path: Path, artifact: Artifact) -> None:
    """Copies, other scenarios and the harness itself are not offered."""
    others = (replace(V6, copy="again"), replace(V6, scenario="multi"), replace(V6, runtime="null"))
    out = written(tmp_path / "out", run_of(artifact, V6, *others))
    for case in others:
        with pytest.raises(UsageError, match=f"nearest are: {V6}$"):
            choose(out, str(case))


def test_a_row_without_times_says_why(tmp_path: Path, artifact: Artifact) -> None:
    """What failed, or was never measured, has nothing to be shipped by."""
    run = run_of(artifact, V6)
    failed = replace(run.measurements[0], status="failed", reason="it broke", latencies_ns=())
    out = written(tmp_path / "out", replace(run, measurements=(failed,)))
    with pytest.raises(UsageError, match="has no times in .*: failed: it broke"):
        choose(out, str(V6))


def test_wrong_answers_and_invalid_times_are_objections(artifact: Artifact) -> None:
    """And so is a row whose answers nobody has compared."""
    assert objections(chosen(V6, artifact)) == []
    assert "parity failed" in objections(chosen(V6, artifact, WRONG))[0]
    assert "never compared" in objections(chosen(V6, artifact, None))[0]
    found = chosen(V6, artifact)
    crowded = Surroundings(1.0, foreign_cpu_s=5.0, steal_s=0.0, **_SWITCHES)
    blocks = tuple(replace(one, surroundings=crowded) for one in found.row.blocks)
    assert "INVALID" in objections(replace(found, row=replace(found.row, blocks=blocks)))[0]


_SWITCHES = {"involuntary_switches": 0, "voluntary_switches": 0}


@pytest.mark.parametrize(
    ("weights", "whose"), [("own", "given file, unoptimised"), ("seeded", "fp32 torch module")]
)
def test_whose_answers_a_row_was_held_against(artifact: Artifact, weights: str, whose: str) -> None:
    """A given file has no torch module: neither an objection nor a bundle's README says so."""
    found = chosen(replace(V6, weights=weights), artifact, parity=None)
    assert objections(found) == [f"its answers were never compared with those of the {whose}"]
    found = chosen(replace(V6, weights=weights), artifact)
    assert any(f"parity with the {whose}" in line for line in numbers(found.row, found.table))
