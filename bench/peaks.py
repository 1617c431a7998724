"""What this host reaches at most: matrix products by precision, and reading memory.

``python -m bench.peaks`` prints it. A peak is a maximum: the best of several libraries
and of several repeats, each library in a child of its own.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter
from tabulate import tabulate

from bench import bandwidth, host, launch
from bench.record import Peaks
from bench.text import NOTHING, rounded
from export.artifact import Artifact, artifact_adapter, default_store
from runtimes import REGISTRY, available

LIBRARIES = ("ort", "openvino")
"""They multiply matrices as fast as any that are measured, in fp32 and in INT8."""
PRECISIONS = ("fp32", "bf16", "int8")
READ_KERNEL = "numpy's bitwise_or.reduce"
_LEAST = 2
_LIMIT_S = 120.0
_ARTIFACTS = TypeAdapter(list[Artifact])

Say = Callable[[str], object]


def measure(threads: int, seconds: float, store: Path, say: Say = print) -> Peaks:
    """The peaks with ``threads`` threads, ``seconds`` for each library and precision.

    What can't be measured is absent, and ``say`` is told why.
    """
    peaks = Peaks(threads, {}, bytes_per_s(threads, seconds, say))
    artifacts = _artifacts(store, say)
    for library in LIBRARIES:
        if artifacts and library in available():
            found = _products(library, artifacts, threads, seconds, store, say)
            peaks = _better(peaks, library, found)
    return peaks


def _better(peaks: Peaks, library: str, found: Iterable[tuple[str, float]]) -> Peaks:
    """``peaks`` with what ``library`` does faster."""
    for precision, rate in found:
        if rate > peaks.macs_per_s.get(precision, 0.0):
            peaks = replace(
                peaks,
                macs_per_s={**peaks.macs_per_s, precision: rate},
                measured_by={**peaks.measured_by, precision: library},
            )
    return peaks


def larger(one: Peaks, other: Peaks) -> Peaks:
    """The larger of each figure: a peak is a maximum, which a disturbed moment only lowers."""
    for precision, rate in other.macs_per_s.items():
        one = _better(one, other.measured_by.get(precision, ""), [(precision, rate)])
    return replace(one, bytes_per_s=max(one.bytes_per_s, other.bytes_per_s))


def _products(
    library: str, artifacts: Sequence[Artifact], threads: int, seconds: float, store: Path, say: Say
) -> list[tuple[str, float]]:
    """(precision, multiply-accumulates a second) of one library, in one child."""
    found = []
    try:
        with launch.Child(
            launch.Setting(threads), store / "logs" / f"peaks_{library}.log"
        ) as child:
            for artifact in artifacts:
                for precision in _asked(library, artifact):
                    rate = _rate(child, library, artifact, precision, threads, seconds)
                    found += [] if rate is None else [rate]
    except (launch.ChildDied, OSError) as exc:
        say(f"peaks: {library}: {exc}")
    return found


def _asked(library: str, artifact: Artifact) -> tuple[str, ...]:
    """What a file is computed in: an fp32 one in whatever the library can."""
    return REGISTRY[library].precisions if artifact.recipe == "fp32" else ("fp32",)


def _rate(
    child: launch.Child,
    library: str,
    artifact: Artifact,
    precision: str,
    threads: int,
    seconds: float,
) -> tuple[str, float] | None:
    """What it computed in and how fast; ``None`` where the library or the CPU can't."""
    inputs = Path(artifact.reference) / "inputs.npy"
    rows = len(np.load(inputs, mmap_mode="r"))
    load = {
        "do": "load",
        "runtime": library,
        "artifact": artifact_adapter().dump_python(artifact, mode="json"),
        "threads": threads,
        "precision": precision,
        "batch_size": rows,
        "inputs": str(inputs),
    }
    loaded = child.ask(load, _LIMIT_S)
    if loaded["status"] == "unsupported":
        return None
    timing = {"do": "measure", "seconds": seconds, "least": _LEAST, "idle_s": 0.0}
    timed = child.ask(timing, _LIMIT_S) if loaded["status"] == "ok" else loaded
    if timed["status"] != "ok":
        raise launch.ChildDied(timed["reason"])
    precision = str(loaded["precision"])
    return precision, rows * artifact.macs / (min(timed["latencies_ns"]) / 1e9)


def _artifacts(store: Path, say: Say) -> list[Artifact]:
    """The files to multiply with, made by a child that may import onnx."""
    command = [sys.executable, "-m", "export.peaks", "--store", str(store)]
    try:
        return _ARTIFACTS.validate_json(_output(command, threads=1))
    except launch.ChildDied as exc:
        say(f"peaks: no matrix products: {exc}")
        return []


def bytes_per_s(threads: int, seconds: float, say: Say) -> float:
    """Read bandwidth with ``threads`` threads, from a child; 0 where it can't be measured."""
    size = bandwidth.array_bytes(host.available_memory_bytes())
    words = ["--threads", str(threads), "--bytes", str(size), "--seconds", str(seconds)]
    try:
        # One thread of Python reads with one thread.
        return float(_output([sys.executable, "-m", "bench.bandwidth", *words], threads=1))
    except launch.ChildDied as exc:
        say(f"peaks: no bandwidth: {exc}")
        return 0.0


def _output(command: Sequence[str], threads: int) -> str:
    """What a child printed; ``ChildDied`` with its last word where it failed."""
    variables = dict.fromkeys(launch.THREAD_VARIABLES, str(threads))
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            timeout=_LIMIT_S,
            env=os.environ | variables,
        )
    except subprocess.TimeoutExpired as exc:
        raise launch.ChildDied(f"no answer within {_LIMIT_S:.0f} s") from exc
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or ["no message"]
        raise launch.ChildDied(f"exit code {done.returncode}: {last[0]}")
    return done.stdout


def text(peaks: Sequence[Peaks]) -> str:
    """The peaks as a table for a person: a line for each number of threads."""
    titles = ("threads", *(f"{name} GMAC/s" for name in PRECISIONS), "read GB/s")
    lines = [
        (
            str(one.threads),
            *(_cell(one, precision) for precision in PRECISIONS),
            rounded(one.bytes_per_s / 1e9, digits=3) if one.bytes_per_s else NOTHING,
        )
        for one in peaks
    ]
    align = ("right",) * len(titles)
    return tabulate(lines, titles, tablefmt="github", disable_numparse=True, colalign=align)


def _cell(peaks: Peaks, precision: str) -> str:
    rate = peaks.macs_per_s.get(precision)
    if rate is None:
        return NOTHING
    return f"{rounded(rate / 1e9, digits=3)} ({peaks.measured_by[precision]})"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; 2 for a bad argument."""
    parser = argparse.ArgumentParser(
        "python -m bench.peaks",
        description="Measure what this host reaches at most: multiply-accumulates a second in "
        f"matrix products, by precision, and memory read by {READ_KERNEL}.",
    )
    cores = host.usable_cores()
    parser.add_argument("-t", "--threads", type=int, nargs="+", default=[cores], metavar="N")
    parser.add_argument("--seconds", type=float, default=1.0, metavar="S", help="for each figure")
    parser.add_argument("--store", type=Path, default=default_store(), metavar="DIR")
    options = parser.parse_args(arguments)
    for threads in options.threads:
        if not 1 <= threads <= cores:
            parser.error(f"--threads {threads}: this process may use 1 to {cores} cores")
    store = options.store.absolute()
    print(text([measure(threads, options.seconds, store) for threads in options.threads]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
