"""What a row could reach at most on this host, and how near it comes.

The roofline model (Williams, Waterman and Patterson, 2009, "Roofline: an insightful
visual performance model for multicore architectures", CACM 52(4)), layer by layer: a
layer takes at least as long as its multiply-accumulates at the host's peak, and at
least as long as its bytes at the host's read bandwidth. Pure functions.
"""

from __future__ import annotations

from collections.abc import Iterable

from bench.record import Peaks
from bench.rows import Row, Table
from bench.stats import Estimate
from export.artifact import LayerWork

_BF16_BYTES_SHARE = 0.5
"""A runtime that computes an fp32 file in bf16 packs it into half of the bytes."""


def attainable_s(
    layers: Iterable[LayerWork], batch_size: int, precision: str, peaks: Peaks
) -> float | None:
    """The least seconds that one inference of ``batch_size`` images takes on this host.

    ``precision`` is what the file's fp32 layers are computed in ("fp32", "bf16");
    INT8 layers stay so. ``None`` without layers, or where a peak was not measured.
    """
    times = [_layer_s(layer, batch_size, precision, peaks) for layer in layers]
    known = [seconds for seconds in times if seconds is not None]
    return sum(known) if known and len(known) == len(times) else None


def _layer_s(layer: LayerWork, batch_size: int, precision: str, peaks: Peaks) -> float | None:
    """The longer of computing and reading; ``None`` where that can't be told."""
    lowered = layer.precision == "fp32" and precision == "bf16"
    rate = peaks.macs_per_s.get(precision if lowered else layer.precision)
    if not rate or not peaks.bytes_per_s:
        return None
    share = _BF16_BYTES_SHARE if lowered else 1.0
    size = share * (layer.weight_bytes + batch_size * layer.activation_bytes)
    return max(batch_size * layer.macs / rate, size / peaks.bytes_per_s)


def share_of_attainable(row: Row, table: Table) -> Estimate | None:
    """Attainable over measured p50: 1 is all that this host can; ``None``: can't be told."""
    peaks = next((one for one in table.peaks if one.threads == row.case.threads), None)
    p50 = row.latency_s(0.5)
    if row.is_null or row.file is None or peaks is None or p50 is None:
        return None
    least = attainable_s(row.file.layers, row.case.batch_size, row.case.precision, peaks)
    return None if least is None else _over(least, p50)


def _over(least_s: float, measured: Estimate) -> Estimate:
    """A constant over an estimate: its interval turns round."""
    if measured.low is None or measured.high is None:
        return Estimate(least_s / measured.value)
    return Estimate(least_s / measured.value, least_s / measured.high, least_s / measured.low)
