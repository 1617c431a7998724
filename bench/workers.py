"""N single-threaded workers of one model at the same time: a deployment for throughput."""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bench import host, launch
from bench.block import Effort, begun_block, filled, load_message
from bench.case import Case
from bench.record import Canary, Measurement, Surroundings, Workers
from export.artifact import Artifact


class _Refused(Exception):
    """A worker's answer was not ok; its arguments are the status and the reason."""


def run(case: Case, number: int, artifact: Artifact, effort: Effort) -> Measurement:
    """One block: as many workers as the case has threads, each of one thread.

    The latencies are those of all workers, one after another.
    """
    begun = time.perf_counter()
    draft = begun_block(case, number, artifact)
    before_s = host.canary_s(time.perf_counter)
    try:
        with ExitStack() as stack:
            children = [
                stack.enter_context(_child(case, place, effort)) for place in range(case.threads)
            ]
            block = _at_once(children, draft, artifact, effort)
    except _Refused as exc:
        status, reason = exc.args
        block = replace(draft, status=status, reason=reason)
    except (launch.ChildDied, OSError) as exc:
        block = replace(draft, reason=str(exc))
    canary = Canary(before_s, host.canary_s(time.perf_counter))
    return replace(block, canary=canary, block_s=time.perf_counter() - begun)


def _child(case: Case, place: int, effort: Effort) -> launch.Child:
    log = effort.logs / f"{str(case).replace('/', '_')}-{place}.log"
    most = effort.memory_bytes // case.threads
    return launch.Child(launch.Setting(1, most, effort.worker, effort.root, effort.tied), log)


def _at_once(
    children: Sequence[launch.Child], draft: Measurement, artifact: Artifact, effort: Effort
) -> Measurement:
    """All are loaded and warm before the first is told to measure."""
    load = load_message(replace(draft.case, threads=1), artifact)
    loaded = [_ok(child.ask(load, launch.LOAD_LIMIT_S)) for child in children]
    warm = [_ok(child.ask({"do": "warm"}, launch.LOAD_LIMIT_S)) for child in children]
    least = effort.inferences(draft.case.batch_size)
    for child in children:
        child.tell({"do": "measure", "seconds": effort.seconds, "least": least, "idle_s": 0.0})
    limit_s = launch.LOAD_LIMIT_S + effort.seconds + 3 * least * loaded[0]["first_s"]
    timed = [_ok(child.hear(limit_s)) for child in children]
    per_worker = [answer["latencies_ns"] for answer in timed]
    cpu_s = [answer["cpu_s"] for answer in timed]
    rate, overlap = together(
        [answer["begun_ns"] for answer in timed], per_worker, draft.case.batch_size
    )
    return replace(
        filled(draft, loaded[0], warm[0], timed[0]),
        warmup_settled=all(answer["warmup_settled"] for answer in warm),
        latencies_ns=tuple(itertools.chain.from_iterable(per_worker)),
        cpu_s=sum(cpu_s),
        surroundings=around([answer["surroundings"] for answer in timed], cpu_s),
        workers=Workers(len(children), rate, overlap, _pss_bytes(children)),
    )


def around(told: Sequence[Mapping[str, Any]], cpu_s: Sequence[float]) -> Surroundings:
    """What the rest of the machine did, as the first worker saw it, the other workers left out.

    What one worker calls foreign is mostly the others: their own CPU time is taken
    from it. Of the switches those of the worker that had most.
    """
    first = Surroundings(**told[0])
    foreign = first.foreign_cpu_s
    return replace(
        first,
        foreign_cpu_s=None if foreign is None else max(0.0, foreign - sum(cpu_s[1:])),
        involuntary_switches=max(one["involuntary_switches"] for one in told),
    )


def _ok(answer: dict[str, Any]) -> Mapping[str, Any]:
    if answer["status"] != "ok":
        raise _Refused(answer["status"], answer["reason"])
    return answer


def together(
    begun_ns: Sequence[int], latencies_ns: Sequence[Sequence[int]], batch_size: int
) -> tuple[float, float]:
    """Images a second while every worker was at work, and that time's share of the longest.

    ``begun_ns`` are the beginnings on one clock. An inference that reaches over
    an end of that time counts by the part that lies within.
    """
    ends = [
        begun + np.concatenate([[0], np.cumsum(own)])
        for begun, own in zip(begun_ns, latencies_ns, strict=True)
    ]
    first, last = max(own[0] for own in ends), min(own[-1] for own in ends)
    if last <= first:
        return 0.0, 0.0
    done = sum(
        float(np.diff(np.interp([first, last], own, np.arange(len(own))))[0]) for own in ends
    )
    longest = max(own[-1] - own[0] for own in ends)
    return float(batch_size * done / (last - first) * 1e9), float((last - first) / longest)


def _pss_bytes(children: Sequence[launch.Child]) -> int | None:
    """The memory of all, what several of them share counted once; they must still be alive."""
    found = [pss_bytes(Path(f"/proc/{child.pid}/smaps_rollup")) for child in children]
    known = [size for size in found if size is not None]
    return sum(known) if len(known) == len(found) else None


def pss_bytes(rollup: Path) -> int | None:
    """The proportional set size that a process's smaps_rollup states; ``None``: not there."""
    try:
        lines = rollup.read_text().splitlines()
    except OSError:
        return None
    sizes = [int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")]
    return sizes[0] if sizes else None
