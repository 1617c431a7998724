"""Peaks of the host: which library wins, what can't be measured, and how it is shown."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench import bandwidth, launch, peaks
from bench.host import usable_cores
from bench.record import Peaks


def ticking(step_s: float) -> Callable[[], float]:
    """A clock that goes on by the same step whenever it is read."""
    now = iter(range(10**6))
    return lambda: step_s * next(now)


def test_bandwidth_is_the_bytes_of_a_pass_over_its_time() -> None:
    """Of all threads together; 8 million bytes in one tick of 2 ms."""
    found = bandwidth.read_bandwidth(2, 8_000_000, 0.0, ticking(0.002))
    assert found == pytest.approx(8_000_000 / 0.002)


def test_bandwidth_is_that_of_the_fastest_pass() -> None:
    """A peak is a maximum: a pass that was disturbed is not it."""

    def times() -> Iterator[float]:
        yield 0.0  # the beginning, then three passes of 3, 1 and 2 s
        yield from (0.0, 3.0, 3.0, 4.0, 4.0, 6.0)
        yield 6.0  # asked whether time is up

    clock = times()
    assert bandwidth.read_bandwidth(1, 800, 5.0, lambda: next(clock)) == 800 / 1.0


def test_the_bandwidth_child_prints_bytes_a_second() -> None:
    """A module of its own, so that nothing of the parent's memory is in the way."""
    words = ["--threads", "2", "--bytes", "1000000", "--seconds", "0"]
    command = [sys.executable, "-m", "bench.bandwidth", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert float(done.stdout) > 0


@pytest.mark.parametrize(
    ("cache", "available", "size"),
    [
        ("32768K", None, 256 * 10**6),  # twice 32 MiB is too little to be sure of
        ("260M", None, 2 * 260 * (1 << 20)),
        ("2G", None, 1024 * 10**6),
        ("260M", 10**9, 250 * 10**6),  # no more than a quarter of what is free
        ("", None, 256 * 10**6),
    ],
)
def test_the_array_is_larger_than_the_caches(
    tmp_path: Path, cache: str, available: int | None, size: int
) -> None:
    """Twice the last one, as far as memory goes."""
    for place, text in enumerate(("48K", cache)):
        (tmp_path / f"index{place}").mkdir()
        (tmp_path / f"index{place}" / "size").write_text(f"{text}\n")
    assert bandwidth.array_bytes(available, tmp_path) == size


def test_the_kernel_reads_every_byte() -> None:
    """A bit anywhere in the array is found: nothing is skipped."""
    part = np.zeros(1000, np.uint64)
    part[777] = 4
    assert np.bitwise_or.reduce(part) == 4


def test_the_faster_library_is_the_peak() -> None:
    """By precision, each with the name of who reached it."""
    found = Peaks(2, {}, 1e9)
    found = peaks._better(found, "ort", [("fp32", 50e9), ("int8", 400e9)])
    found = peaks._better(found, "openvino", [("fp32", 60e9), ("int8", 300e9), ("bf16", 1e11)])
    assert found.macs_per_s == {"fp32": 60e9, "int8": 400e9, "bf16": 1e11}
    assert found.measured_by == {"fp32": "openvino", "int8": "ort", "bf16": "openvino"}


def test_of_two_measurements_the_larger_of_each_figure_stays() -> None:
    """Each with the name of who reached it; what only one could measure is kept."""
    first = Peaks(2, {"fp32": 50e9, "int8": 4e11}, 2e9, {"fp32": "ort", "int8": "ort"})
    second = Peaks(2, {"fp32": 60e9, "int8": 3e11, "bf16": 1e11}, 1e9)
    second = replace(second, measured_by=dict.fromkeys(second.macs_per_s, "openvino"))
    both = Peaks(
        2,
        {"fp32": 60e9, "int8": 4e11, "bf16": 1e11},
        2e9,
        {"fp32": "openvino", "int8": "ort", "bf16": "openvino"},
    )
    assert peaks.larger(first, second) == peaks.larger(second, first) == both
    assert peaks.larger(first, Peaks(2, {}, 0.0)) == first


def test_peaks_as_a_person_reads_them() -> None:
    """A line for each number of threads; what was not measured is a dash."""
    known = Peaks(2, {"fp32": 123.4e9, "int8": 1.8e12}, 16.5e9, {"fp32": "ort", "int8": "ort"})
    assert peaks.text([Peaks(1, {}, 0.0), known]) == (
        "|   threads |   fp32 GMAC/s |   bf16 GMAC/s |   int8 GMAC/s |   read GB/s |\n"
        "|-----------|---------------|---------------|---------------|-------------|\n"
        "|         1 |             – |             – |             – |           – |\n"
        "|         2 |     123 (ort) |             – |    1800 (ort) |        16.5 |"
    )


def test_what_cannot_be_measured_is_told_and_absent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A child that fails costs its figure, not the run."""

    def fail(command: list[str], threads: int) -> str:
        raise launch.ChildDied(f"exit code 1: no module for {command[2]}")

    monkeypatch.setattr(peaks, "_output", fail)
    told: list[str] = []
    assert peaks.measure(1, 0.01, tmp_path, told.append) == Peaks(1, {}, 0.0)
    assert told == [
        "peaks: no bandwidth: exit code 1: no module for bench.bandwidth",
        "peaks: no matrix products: exit code 1: no module for export.peaks",
    ]


def test_a_childs_last_word_is_the_reason() -> None:
    """Not its whole traceback."""
    command = [sys.executable, "-c", "import sys; print('a'); sys.exit('out of patience')"]
    with pytest.raises(launch.ChildDied, match=r"^exit code 1: out of patience$"):
        peaks._output(command, threads=1)


def test_more_threads_than_cores_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2, with what is possible."""
    with pytest.raises(SystemExit) as ended:
        peaks.main(["-t", str(usable_cores() + 1)])
    assert ended.value.code == 2
    assert f"1 to {usable_cores()} cores" in capsys.readouterr().err


def test_every_library_that_is_installed_multiplies(tmp_path: Path) -> None:
    """In fp32 and INT8 at least, over the adapters that are measured, in children."""
    pytest.importorskip("onnx", reason="making the files needs onnx: pip install '.[build]'")
    pytest.importorskip("onnxruntime", reason="multiplying needs a library: pip install '.[ort]'")
    found = peaks.measure(1, 0.01, tmp_path, pytest.fail)
    assert {"fp32", "int8"} <= found.macs_per_s.keys()
    assert set(found.measured_by.values()) <= set(peaks.LIBRARIES)
    assert found.bytes_per_s > 0
