"""pytest-benchmark's JSON, in and out: the form in which other tools keep benchmarks.

Its ``stats`` hold the samples (``data``, in seconds); what it has no place for
stands in ``extra_info`` (where a process ends) and in ``deploybench`` (what has
to be the same before anything is compared).
"""

from __future__ import annotations

import itertools
import json
import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench import stats, validity
from bench.case import NULL, Case
from bench.record import Measurement, RecordError, Run, current_blocks, write_atomically
from bench.resultset import Block, Entry, ResultSet, preprocess, row_name
from bench.validity import Verdict

_GROUPS = 10
"""Into so many blocks the rounds of one process are divided, in their order."""
_LEAST_IN_GROUP = 3
_VERSION = "5.3.1"
"""Whose form is written."""


# --- out


def document(run: Run) -> dict[str, Any]:
    """``run`` as pytest-benchmark saves one: a benchmark a row, its valid blocks' samples as data.

    Left out are rows without a valid block or of another scenario, second copies, and the
    harness's own.
    """
    header = run.header
    usual = validity.usual_canary_s(run.measurements)
    rows = {
        case: [block for block in blocks if _counts(block, usual)]
        for case, blocks in current_blocks(run.measurements).items()
        if not case.copy and case.runtime != NULL and case.scenario == "single"
    }
    return {
        "machine_info": {**_machine(header.host), "host_id": header.host_id},
        "commit_info": {
            "id": header.commit.removesuffix("+dirty"),
            "time": header.started,
            "dirty": header.commit.endswith("+dirty"),
            "branch": "(unknown)",
        },
        "benchmarks": [_benchmark(case, blocks, usual) for case, blocks in rows.items() if blocks],
        "datetime": header.started,
        "version": _VERSION,
        "deploybench": {
            "schema": header.schema,
            "run": header.run,
            "weights": header.weights,
            "data": header.data,
            "versions": dict(header.versions),
        },
    }


def write(run: Run, path: Path) -> Path:
    """Put :func:`document` into a file; raises ``RecordError`` where that fails."""
    write_atomically(path, json.dumps(document(run), indent=1).encode() + b"\n")
    return path


def _counts(block: Measurement, usual_canary_s: float | None) -> bool:
    measured = block.status == "ok" and bool(block.latencies_ns)
    return measured and validity.judge(block, usual_canary_s).level != "INVALID"


def _machine(facts: Mapping[str, str]) -> dict[str, Any]:
    """The fields that pytest-benchmark prints, from our own facts."""
    kernel = [*facts.get("kernel", "").split(), "", "", ""][:3]
    return {
        "node": "",
        "processor": kernel[2],
        "machine": kernel[2],
        "python_implementation": facts.get("Python", " ").split()[0] if "Python" in facts else "",
        "python_version": facts.get("Python", "").rpartition(" ")[2],
        "system": kernel[0],
        "release": kernel[1],
        "cpu": {"brand_raw": facts.get("CPU", ""), "count": facts.get("cores", "")},
        "facts": dict(facts),
    }


def _benchmark(
    case: Case, blocks: Sequence[Measurement], usual_canary_s: float | None
) -> dict[str, Any]:
    """One row: its samples in seconds for an inference, and where each block ends."""
    data = [latency / 1e9 for block in blocks for latency in block.latencies_ns]
    parities = [block.parity.passed for block in blocks if block.parity]
    return {
        "group": case.variant,
        "name": row_name(case),
        "fullname": row_name(case),
        "params": None,
        "param": None,
        "extra_info": {
            "batch_size": case.batch_size,
            "right": all(parities) if parities else None,
            "preprocess": preprocess(blocks),
            "blocks": [_block(block, usual_canary_s) for block in blocks],
        },
        "options": {},
        "stats": {**summary(data), "data": data},
    }


def _block(block: Measurement, usual_canary_s: float | None) -> dict[str, Any]:
    verdict = validity.judge(block, usual_canary_s)
    return {
        "round": block.round,
        "inferences": len(block.latencies_ns),
        "level": verdict.level,
        "codes": list(verdict.codes),
    }


def summary(data: Sequence[float]) -> dict[str, Any]:
    """The statistics that pytest-benchmark keeps beside its samples; quartiles interpolate."""
    ordered, mean = sorted(data), statistics.fmean(data)
    deviation = statistics.stdev(data) if len(data) > 1 else 0.0
    q1, _, q3 = _quartiles(ordered)
    low, high = q1 - 1.5 * (q3 - q1), q3 + 1.5 * (q3 - q1)
    far = sum(abs(value - mean) > deviation for value in data)
    outside = sum(not low <= value <= high for value in data)
    return {
        "min": ordered[0],
        "max": ordered[-1],
        "mean": mean,
        "stddev": deviation,
        "rounds": len(data),
        "median": statistics.median(data),
        "iqr": q3 - q1,
        "q1": q1,
        "q3": q3,
        "iqr_outliers": outside,
        "stddev_outliers": far,
        "outliers": f"{far};{outside}",
        "ld15iqr": next(value for value in ordered if value >= low),
        "hd15iqr": next(value for value in reversed(ordered) if value <= high),
        "ops": 1 / mean if mean else 0.0,
        "total": math.fsum(data),
        "iterations": 1,
    }


def _quartiles(ordered: Sequence[float]) -> tuple[float, float, float]:
    if len(ordered) < 2:
        return ordered[0], ordered[0], ordered[0]
    q1, q2, q3 = statistics.quantiles(ordered, n=4, method="inclusive")
    return q1, q2, q3


# --- in


def read(path: Path) -> ResultSet:
    """The benchmarks of a file that pytest-benchmark saved, or that we wrote in its form.

    Where a benchmark does not say which samples one process made, its rounds are
    divided into ten blocks in their order: what differs between processes is then
    in none of them. Raises ``RecordError`` for a file that is not its JSON, and for
    a benchmark without samples.
    """
    try:
        saved = json.loads(path.read_bytes())
        machine, benchmarks = saved["machine_info"], saved["benchmarks"]
        ours = saved.get("deploybench", {})
        entries = {row["fullname"]: _entry(row, path) for row in benchmarks}
        _check_times(entries, path)
    except OSError as exc:
        raise RecordError(f"{path}: {exc.strerror}") from exc
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as exc:
        raise RecordError(f"{path} is not what pytest-benchmark saves: {exc!r}") from exc
    return ResultSet(
        source=str(path),
        run=ours.get("run", ""),
        host_id=machine.get("host_id") or _host(machine),
        schema=f"schema {ours['schema']}" if ours else "pytest-benchmark's JSON",
        weights=ours.get("weights", ""),
        data=ours.get("data", ""),
        entries=entries,
        commit=str((saved.get("commit_info") or {}).get("id") or ""),
        versions=ours.get("versions", {}),
    )


def _check_times(entries: Mapping[str, Entry], path: Path) -> None:
    for name, entry in entries.items():
        for block in entry.blocks:
            if not 0 < block.median_s < math.inf:
                raise RecordError(f"{path}: {name} has a time of {block.median_s}, which is none")


def _host(machine: Mapping[str, Any]) -> str:
    """What tells machines apart where no ``host_id`` was saved."""
    cpu = machine.get("cpu") or {}
    words = (cpu.get("brand_raw"), cpu.get("count"), machine.get("node"), machine.get("machine"))
    return ", ".join(str(word) for word in words if word)


def _entry(row: Mapping[str, Any], path: Path) -> Entry:
    """A benchmark's blocks: our own, its ratios to a reference, or its samples in groups."""
    extra = row.get("extra_info") or {}
    data = row["stats"].get("data")
    if "ratios" in extra:
        values = enumerate(extra["ratios"])
        return Entry(tuple(Block(number, float(ratio)) for number, ratio in values))
    if not data:
        raise RecordError(
            f"{path}: {row['fullname']} has no samples, only statistics of them: save it with "
            "pytest's --benchmark-save-data (--benchmark-json keeps them by itself)"
        )
    if "blocks" in extra:
        own = tuple(_own_blocks(extra, data))
        return Entry(own, right=extra.get("right"), preprocess=extra.get("preprocess", ""))
    return Entry(tuple(_groups(data)))


def _own_blocks(extra: Mapping[str, Any], data: Sequence[float]) -> Iterator[Block]:
    """The blocks as they were written by :func:`document`."""
    left = iter(data)
    for block in extra["blocks"]:
        own = list(itertools.islice(left, block["inferences"]))
        median = stats.percentile(own, 0.5) / extra["batch_size"]
        yield Block(block["round"], median, Verdict(block["level"], tuple(block["codes"])))


def _groups(data: Sequence[float]) -> Iterator[Block]:
    """The samples in their order, in at most ten groups of nearly the same size."""
    count = max(1, min(_GROUPS, len(data) // _LEAST_IN_GROUP))
    for number in range(count):
        own = data[number * len(data) // count : (number + 1) * len(data) // count]
        yield Block(number, stats.percentile(own, 0.5))
