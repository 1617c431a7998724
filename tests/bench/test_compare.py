"""``python -m bench.compare``: what it reads, what it refuses, its exit codes."""

from __future__ import annotations

import json
import math
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bench import compare, interchange, report
from bench.case import AGAIN, Case
from bench.record import Measurement, Parity, Recorder, Run, find_runs

CASES = (Case("revisited-v6", "fp32", "ort", 2), Case("revisited-v6", "int8-static", "ort", 2))
Compare = Callable[..., int]


def blocks(case: Case, ms: float, seed: int, count: int = 5) -> list[Measurement]:
    """Quiet blocks of 40 inferences."""
    noise = random.Random(seed)
    right = Parity(0.0, 1.0, 1.0, 16, passed=True)
    return [
        Measurement(
            case,
            number,
            "ok",
            latencies_ns=tuple(
                round(ms * 1e6 * math.exp(noise.gauss(0, 0.002))) for _ in range(40)
            ),
            warmup_settled=True,
            parity=right,
        )
        for number in range(count)
    ]


def save(out: Path, run: Run) -> Path:
    """A results folder with that run, finished."""
    with Recorder.open(out, run.header) as recorder:
        for block in run.measurements:
            recorder.append(block)
        recorder.finish()
    return out


@pytest.fixture
def base(run_of, tmp_path: Path) -> Path:
    """Two rows of ten milliseconds."""
    made = [b for seed, case in enumerate(CASES) for b in blocks(case, 10, seed)]
    return save(tmp_path / "base", run_of(*made, cases=CASES))


@pytest.fixture
def head(run_of, tmp_path: Path) -> Callable[..., Path]:
    """``head(first_ms, second_ms, **changes)``: the same rows, later; ``None`` deletes one."""

    def make(*ms: float | None, count: int = 5, **changes: object) -> Path:
        planned = [(case, time) for case, time in zip(CASES, ms, strict=True) if time]
        made = [b for i, (case, t) in enumerate(planned) for b in blocks(case, t, 9 + i, count)]
        plain = {"run": "default-2", "cases": tuple(case for case, _ in planned)}
        return save(tmp_path / "head", run_of(*made, **plain | changes))

    return make


@pytest.mark.parametrize(
    ("ms", "more", "code"),
    [
        ((10, 10), {}, 0),
        ((10, 5), {}, 0),
        ((12, None), {"count": 5}, 1),
        ((10, None), {}, 4),
        ((10, 10.2), {}, 3),
        ((10, 12), {"count": 2}, 3),
        ((10, 10), {"host_id": "another"}, 2),
        ((10, 10), {"weights": "plants40"}, 2),
    ],
    ids=["same", "faster", "slower", "deleted", "on-the-bound", "two-blocks", "host", "weights"],
)
def test_exit_codes(ms, more, code, base: Path, head: Callable[..., Path]) -> None:
    """2 before 1 before 4 before 3 before 0: each from what really makes it so."""
    assert compare.main([str(base), str(head(*ms, **more))]) == code


def test_a_set_of_another_schema_is_refused(base: Path, head, capsys) -> None:
    """Version 1 recorded less: it can be read, but not compared."""
    other = head(10, 10, schema=1)
    (path,) = find_runs(other)
    assert compare.main([str(base), str(path)]) == 2
    assert "schema schema 2 and schema 1" in " ".join(capsys.readouterr().err.split())


def test_a_margin_as_wide_as_the_change_makes_it_equivalent(base: Path, head) -> None:
    """12 ms instead of 10 are within 25 %, and not within 2 %."""
    assert compare.main([str(base), str(head(12, 12)), "--margin", "25%"]) == 0
    assert compare.main([str(base), str(base.parent / "head"), "--margin", "0.02"]) == 1


@pytest.mark.parametrize("margin", ["two", "2", "-1%", "1.2.3%", "100%"])
def test_a_margin_must_be_a_share(margin: str, base: Path, head, capsys) -> None:
    """2 could be meant as 2 % or as twice: it is refused."""
    assert compare.main([str(base), str(head(10, 10)), f"--margin={margin}"]) == 2
    assert f"--margin {margin}: write a share below 1" in capsys.readouterr().err


def test_the_newest_finished_run_of_a_folder_is_taken(base: Path, run_of, capsys) -> None:
    """Unless another one is named; an unfinished one only then."""
    later = run_of(*blocks(CASES[0], 12, 3), run="default-2", started="2026-02-01T00:00:00+00:00")
    save(base, later)
    with Recorder.open(base, replace(later.header, run="open-3", started="2026-03-01")) as live:
        live.append(blocks(CASES[0], 1, 3)[0])
    both = [str(base), str(base)]
    assert compare.main([*both, "--base-run", "default-1"]) == 1
    assert compare.main([*both, "--head-run", "open*"]) == 3
    capsys.readouterr()
    assert compare.main(both) == 2
    assert "are the same run, default-2" in capsys.readouterr().err
    assert compare.main([*both, "--base-run", "sing"]) == 2
    assert "there are: default-1, default-2, open-3" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (None, "holds no records"),
        ("{}", "is not what pytest-benchmark saves"),
        ("[" * 100_000, "is not what pytest-benchmark saves"),
        ('{"machine_info": {}, "benchmarks": [{"fullname": "a", "stats": {}}]}', "has no samples"),
        (
            '{"machine_info": {}, "benchmarks": [{"fullname": "a", "stats": {"data": [0, 0, 0]}}]}',
            "a has a time of 0.0",
        ),
        (
            '{"machine_info": {}, "benchmarks": '
            '[{"fullname": "a", "stats": {}, "extra_info": {"ratios": [NaN]}}]}',
            "a has a time of nan",
        ),
    ],
    ids=["empty-folder", "no-fields", "deep", "no-data", "zero", "nan"],
)
def test_what_cannot_be_read_is_a_sentence(content, part, base: Path, tmp_path, capsys) -> None:
    """An empty folder, foreign JSON, statistics without samples."""
    place = tmp_path / ("empty" if content is None else "other.json")
    place.mkdir() if content is None else place.write_text(content)
    assert compare.main([str(base), str(place)]) == 2
    assert part in capsys.readouterr().err


def test_the_comment_goes_into_a_file_or_alone_to_the_output(base: Path, head, tmp_path, capsys):
    """``--markdown FILE`` beside the table, ``--markdown -`` instead of it."""
    words = [str(base), str(head(12, 10))]
    compare.main([*words, "--markdown", str(tmp_path / "c.md")])
    assert "<details>" not in capsys.readouterr().out
    compare.main([*words, "--markdown", "-"])
    shown = capsys.readouterr().out
    assert shown == (tmp_path / "c.md").read_text()
    assert shown.startswith("**1 regressed, 1 equivalent**: 2 rows of HEAD")
    assert "<details><summary>1 row without a proven change</summary>" in shown
    assert compare.main([*words, "--markdown", str(tmp_path / "no" / "c.md")]) == 2


def test_a_run_survives_pytest_benchmarks_form(base: Path, head, tmp_path, capsys) -> None:
    """Written and read again it is the same set: the same blocks, medians, doubts and ratios."""
    saved = tmp_path / "base.json"
    assert report.main(["--out", str(base), "--pytest-benchmark", str(saved)]) == 0
    other = str(head(12, 9))
    capsys.readouterr()
    compare.main([str(base), other])
    table = capsys.readouterr().out.splitlines()[2:]
    compare.main([str(saved), other])
    assert capsys.readouterr().out.splitlines()[2:] == table


def test_copies_and_failed_rows_stay_out_of_pytest_benchmarks_form(run_of) -> None:
    """It has no place for a row without samples."""
    made = [*blocks(replace(CASES[0], copy=AGAIN), 10, 1), Measurement(CASES[1], 0, "failed", "no")]
    assert interchange.document(run_of(*made))["benchmarks"] == []


def test_pytest_benchmark_reads_what_we_write(base: Path, tmp_path: Path) -> None:
    """Its own compare command prints our rows."""
    program = shutil.which("pytest-benchmark", path=str(Path(sys.executable).parent))
    if program is None:
        pytest.skip("pytest-benchmark has no script here")
    report.main(["--out", str(base), "--pytest-benchmark", str(tmp_path / "ours.json")])
    command = [program, "compare", str(tmp_path / "ours.json")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=True)
    assert all(str(case) in done.stdout for case in CASES)


def test_foreign_samples_are_divided_into_blocks_in_their_order(tmp_path: Path) -> None:
    """Ten of nearly the same size; fewer where a block would have less than three samples."""

    def medians(count: int) -> list[float]:
        rows = [{"fullname": "a", "stats": {"data": list(range(1, count + 1))}}]
        path = tmp_path / "foreign.json"
        path.write_text(json.dumps({"machine_info": {"node": "n"}, "benchmarks": rows}))
        return [block.median_s for block in interchange.read(path).entries["a"].blocks]

    assert medians(33) == [2, 5, 8, 11, 15, 18, 21, 25, 28, 31]
    assert medians(8) == [2, 6]
    assert medians(1) == [1]


def test_ratios_to_a_reference_are_taken_as_they_are(tmp_path: Path) -> None:
    """What ``make regression`` saves is compared by its ratios, not by its times."""
    row = {"fullname": "a", "stats": {"data": [1.0]}, "extra_info": {"ratios": [0.2, 0.3]}}
    path = tmp_path / "ratios.json"
    path.write_text(json.dumps({"machine_info": {"host_id": "ff00"}, "benchmarks": [row]}))
    found = interchange.read(path)
    assert [block.median_s for block in found.entries["a"].blocks] == [0.2, 0.3]
    assert (found.host_id, found.schema) == ("ff00", "pytest-benchmark's JSON")
