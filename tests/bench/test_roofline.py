"""The roofline: what a row could reach at most, from peaks and work that are made up."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench import report_family, roofline
from bench.case import Case
from bench.record import (
    SCHEMA,
    FileFacts,
    Measurement,
    Parity,
    Peaks,
    Run,
    RunHeader,
)
from bench.rows import tables_of
from export.artifact import LayerWork

PEAKS = Peaks(2, {"fp32": 100e9, "int8": 800e9, "bf16": 400e9}, bytes_per_s=10e9)
COMPUTES = LayerWork("conv", macs=1_000_000_000, weight_bytes=4_000_000, activation_bytes=6_000_000)
READS = LayerWork("fc", macs=10_000_000, weight_bytes=40_000_000, activation_bytes=20_000)
OPT = Case("vgg19", "fp32", "ort", 2)


@pytest.mark.parametrize(
    ("layer", "batch_size", "precision", "seconds"),
    [
        (COMPUTES, 1, "fp32", 0.01),  # 1e9 / 100e9; reading its 10 MB takes a tenth of that
        (COMPUTES, 4, "fp32", 0.04),
        (READS, 1, "fp32", 0.004002),  # 40.02 MB / 10e9; computing takes a fortieth of that
        (READS, 4, "fp32", 0.004008),  # weights are read once for all images
        (COMPUTES, 1, "bf16", 0.0025),
        (READS, 1, "bf16", 0.002001),  # packed into half of the bytes
        (replace(READS, precision="int8"), 1, "fp32", 0.004002),
        (replace(COMPUTES, precision="int8"), 1, "bf16", 0.00125),  # INT8 stays INT8
    ],
)
def test_a_layer_takes_the_longer_of_computing_and_reading(
    layer: LayerWork, batch_size: int, precision: str, seconds: float
) -> None:
    """MACs over the peak of what runs, or bytes over the bandwidth."""
    found = roofline.attainable_s([layer], batch_size, precision, PEAKS)
    assert found == pytest.approx(seconds, rel=1e-12)


def test_layers_follow_one_another() -> None:
    """One layer's computing doesn't hide another's reading: the times add up."""
    found = roofline.attainable_s([COMPUTES, READS], 1, "fp32", PEAKS)
    assert found == pytest.approx(0.014002, rel=1e-12)


@pytest.mark.parametrize(
    ("layers", "precision", "peaks"),
    [
        ([], "fp32", PEAKS),
        ([COMPUTES], "bf16", replace(PEAKS, macs_per_s={"fp32": 1e9})),
        ([COMPUTES, replace(READS, precision="fp16")], "fp32", PEAKS),
        ([COMPUTES], "fp32", replace(PEAKS, bytes_per_s=0.0)),
    ],
)
def test_what_was_not_measured_is_not_guessed(
    layers: list[LayerWork], precision: str, peaks: Peaks
) -> None:
    """Without layers, or without the peak of a precision, nothing is attainable or not."""
    assert roofline.attainable_s(layers, 1, precision, peaks) is None


def block(case: Case, number: int, ms: float) -> Measurement:
    """A block of one second's worth of latencies, all alike."""
    facts = FileFacts("k", "0", "onnx", 1, 1, 1, 0, 1, 0.0, 0, layers=(COMPUTES,))
    return Measurement(
        case,
        number,
        "ok",
        file=facts,
        latencies_ns=(int(ms * 1e6),) * 40,
        parity=Parity(0.0, 1.0, 1.0, 16, passed=True),
    )


def run(case: Case, *, peaks: tuple[Peaks, ...] = (PEAKS,)) -> Run:
    """Three blocks of a case, a little apart."""
    header = RunHeader(
        SCHEMA, "r", "2026", "c", "a", "s", "seeded", "d", 3, 1.0, {}, "h", {}, (case,), peaks
    )
    return Run(header, tuple(block(case, i, ms) for i, ms in enumerate((20.0, 20.2, 19.8))))


def test_the_share_has_the_interval_of_the_latency() -> None:
    """10 ms are attainable and 20 were measured; low and high change places."""
    (table,) = tables_of(run(OPT)).values()
    share = roofline.share_of_attainable(table.rows[0], table)
    p50 = table.rows[0].latency_s(0.5)
    assert share is not None and p50 is not None and p50.low and p50.high
    assert (share.value, share.low, share.high) == (0.5, 0.01 / p50.high, 0.01 / p50.low)


@pytest.mark.parametrize(
    ("case", "peaks", "cell"),
    [
        (OPT, (PEAKS,), "50.0"),
        (replace(OPT, precision="bf16"), (PEAKS,), "12.50"),
        (replace(OPT, threads=1), (PEAKS,), "–"),
        (replace(OPT, threads=1), (PEAKS, replace(PEAKS, threads=1)), "50.0"),
        (replace(OPT, runtime="null"), (PEAKS,), "–"),
    ],
)
def test_the_column_is_of_the_rows_own_threads(
    case: Case, peaks: tuple[Peaks, ...], cell: str
) -> None:
    """Peaks of another number of threads say nothing of a row; ``null`` has no work."""
    text = report_family.family_table(run(case, peaks=peaks), "vgg19").partition("Speed-ups")[2]
    lines = [line for line in text.splitlines() if line.startswith("|")]
    titles, cells = ([c.strip() for c in lines[i].strip("|").split("|")] for i in (0, 2))
    assert cells[titles.index("% of attainable")] == cell


def test_a_run_without_peaks_has_no_such_column() -> None:
    """Records of schema 1 give the table that they always gave."""
    assert "attainable" not in report_family.family_table(run(OPT, peaks=()), "vgg19")
