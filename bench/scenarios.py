"""MLPerf LoadGen over a loaded adapter. Child side only, and nothing else imports LoadGen.

LoadGen reads its own clock and keeps its state in the process: one test a
child. It only gets the adapter's callable; what it says is read from its logs,
which it writes into a folder that is removed afterwards.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import mlperf_loadgen as loadgen
import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.float32]
Run = Callable[[Images], Images]

_SCENARIOS = {
    "single": loadgen.TestScenario.SingleStream,
    "multi": loadgen.TestScenario.MultiStream,
    "offline": loadgen.TestScenario.Offline,
    "server": loadgen.TestScenario.Server,
}
_LEAST_LATENCY_S = 5e-6
"""LoadGen makes its queries beforehand; in Python none is answered faster than this."""
_HASTE = 2.0
"""So much faster than expected may the model be before LoadGen runs out of queries."""
_SPARE = 1.25
"""The same for Offline, whose one query takes as much longer if it is not."""
_PREFIX = ":::MLLOG "
_LATENCY = "result_{:.2f}_percentile_{}latency_ns"
_PERCENTILES = (50, 90, 95, 99)


def run_test(run: Run, images: Sequence[Images], message: Mapping[str, Any]) -> dict[str, Any]:
    """One test; the answer has the fields of ``bench.record.LoadTest``.

    ``images`` (1, 3, H, W) are LoadGen's samples. ``message`` has ``scenario``,
    ``batch_size``, ``expected_s`` (for one image), ``least_s``, ``most_s``
    (0: no limit), ``queries`` (the least of them), ``samples_per_query`` for
    ``multi``, and ``rate`` and ``bound_s`` for ``server``. Raises what ``run`` raises.
    """
    system = _System(run, images, message["batch_size"])
    under_test = loadgen.ConstructSUT(system.issue, _nothing)
    samples = loadgen.ConstructQSL(len(images), len(images), _nothing, _nothing)
    with tempfile.TemporaryDirectory() as folder:
        try:
            loadgen.StartTestWithLogSettings(
                under_test, samples, _settings(message), _logs(folder), ""
            )
        finally:
            loadgen.DestroyQSL(samples)
            loadgen.DestroySUT(under_test)
        if system.failure is not None:
            raise system.failure
        log = Path(folder, "mlperf_log_detail.txt").read_text(encoding="utf-8")
    return result(message["scenario"], entries(log))


class _System:
    """What LoadGen tests: answers the samples of a query batch by batch, one after another."""

    def __init__(self, run: Run, images: Sequence[Images], batch_size: int) -> None:
        self.failure: Exception | None = None
        self._run = run
        self._images = images
        self._batch_size = batch_size

    def issue(self, samples: Sequence[Any]) -> None:
        """Answer one query. Only that they were answered is of interest, not the answers."""
        for start in range(0, len(samples), self._batch_size):
            part = samples[start : start + self._batch_size]
            if self.failure is None:
                self._answer([sample.index for sample in part])
            responses = [loadgen.QuerySampleResponse(sample.id, 0, 0) for sample in part]
            loadgen.QuerySamplesComplete(responses)

    def _answer(self, indices: Sequence[int]) -> None:
        try:
            self._run(self._batch(indices))
        except Exception as exc:  # LoadGen would abort the process: raised when the test is over
            self.failure = exc

    def _batch(self, indices: Sequence[int]) -> Images:
        """The images as one array; a last batch is filled up, because a file may fix its size."""
        if self._batch_size == 1:
            return self._images[indices[0]]
        turns = -(-self._batch_size // len(indices))
        return np.concatenate([self._images[i] for i in [*indices] * turns][: self._batch_size])


def _nothing(*_: object) -> None:
    """The images are in memory already, and no query is ever held back."""


def _settings(message: Mapping[str, Any]) -> Any:
    expected_s = max(message["expected_s"], _LEAST_LATENCY_S)
    settings = loadgen.TestSettings()
    settings.scenario = _SCENARIOS[message["scenario"]]
    settings.mode = loadgen.TestMode.PerformanceOnly
    settings.min_duration_ms = round(1e3 * message["least_s"])
    settings.max_duration_ms = round(1e3 * message["most_s"])
    settings.min_query_count = message["queries"]
    settings.single_stream_expected_latency_ns = 1e9 * expected_s / _HASTE
    if message["scenario"] == "multi":
        settings.multi_stream_samples_per_query = message["samples_per_query"]
        query_s = expected_s * message["samples_per_query"]
        settings.multi_stream_expected_latency_ns = 1e9 * query_s / _HASTE
    if message["scenario"] == "offline":
        settings.offline_expected_qps = _SPARE / expected_s
    if message["scenario"] == "server":
        settings.server_target_qps = message["rate"]
        settings.server_target_latency_ns = round(1e9 * message["bound_s"])
    return settings


def _logs(folder: str) -> Any:
    """Everything into ``folder``, nothing to standard output."""
    output = loadgen.LogOutputSettings()
    output.outdir = folder
    output.copy_summary_to_stdout = False
    settings = loadgen.LogSettings()
    settings.log_output = output
    settings.enable_trace = False
    return settings


# --- what it says


def entries(log: str) -> dict[str, Any]:
    """Key -> value of LoadGen's detailed log; of a key that comes more than once the last."""
    lines = (line for line in log.splitlines() if line.startswith(_PREFIX))
    found = (json.loads(line.removeprefix(_PREFIX)) for line in lines)
    return {entry["key"]: entry["value"] for entry in found}


def result(scenario: str, log: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of ``bench.record.LoadTest``, times in seconds."""
    per_query = "per_query_" if scenario == "multi" else ""
    percentiles = {
        f"p{p}": log[_LATENCY.format(p, per_query)] / 1e9
        for p in _PERCENTILES
        if _LATENCY.format(p, per_query) in log
    }
    values = {
        "single": ("latency_p90_s", percentiles.get("p90", 0.0)),
        "multi": ("query_latency_p99_s", percentiles.get("p99", 0.0)),
        "offline": ("images_per_s", log.get("result_samples_per_second", 0.0)),
        "server": ("queries_per_s", log["effective_target_qps"]),
    }
    metric, value = values[scenario]
    estimate = {"single": "early_stopping_latency_ss", "multi": "early_stopping_latency_ms"}
    # It writes 0 where it has no estimate.
    estimate_ns = log.get(estimate.get(scenario, ""), 0)
    return {
        "metric": metric,
        "value": float(value),
        "valid": log["result_validity"] == "VALID",
        "reasons": reasons(log),
        "early_stopping": estimate_ns / 1e9 if estimate_ns else None,
        "queries": log["result_query_count"],
        "percentiles_s": percentiles,
        "facts": {
            "loadgen": log["loadgen_version"].partition(" ")[0],
            "min_duration_s": f"{log['effective_min_duration_ms'] / 1e3:g}",
            "max_duration_s": f"{log['effective_max_duration_ms'] / 1e3:g}",
            "min_query_count": str(log["effective_min_query_count"]),
            "samples_per_query": str(log["effective_samples_per_query"]),
            "early_stopping": _sentence(str(log.get("early_stopping_result", ""))),
        },
    }


def reasons(log: Mapping[str, Any]) -> list[str]:
    """Why a result is INVALID, in LoadGen's own words; empty for a valid one."""
    if log["result_validity"] == "VALID":
        return []
    found = [_sentence(str(log.get("result_invalid_reason", "")))]
    if not log["early_stopping_met"]:
        found.append(f"Early stopping: {_sentence(str(log['early_stopping_result']))}")
    return [text for text in found if text]


def _sentence(text: str) -> str:
    """A list of LoadGen's as running text."""
    return " ".join(text.replace(" * ", " ").split())
