"""One block: one fresh child process for one case, and what came of it."""

from __future__ import annotations

import datetime
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from bench import accuracy, launch
from bench.case import Case
from bench.record import FileFacts, Measurement, Memory, Parity, Surroundings
from export.artifact import ARTIFACT, Artifact

_LEAST_BATCHES = 4


@dataclass(frozen=True)
class Effort:
    """How long a block measures, and within what. ``samples`` counts images."""

    seconds: float
    samples: int
    memory_bytes: int = 0
    logs: Path = Path("logs")

    def inferences(self, batch_size: int) -> int:
        """The least number of inferences: fewer of a batch, but still enough for a median."""
        return min(self.samples, max(_LEAST_BATCHES, math.ceil(self.samples / batch_size)))


def run_block(case: Case, number: int, artifact: Artifact, effort: Effort) -> Measurement:
    """Measure one block. Whatever happens to the child becomes part of the result."""
    draft = Measurement(
        case,
        number,
        status="failed",
        started=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        file=file_facts(artifact),
    )
    setting = launch.Setting(case.threads, effort.memory_bytes)
    log = effort.logs / f"{str(case).replace('/', '_')}.log"
    try:
        with launch.Child(setting, log) as child:
            return _talk(child, draft, artifact, effort)
    except (launch.ChildDied, OSError) as exc:
        return replace(draft, reason=str(exc))


def _talk(
    child: launch.Child, draft: Measurement, artifact: Artifact, effort: Effort
) -> Measurement:
    """load, warm, measure, and in the first block the answers to the parity images."""
    inputs = Path(artifact.reference) / "inputs.npy"
    limit_s = launch.LOAD_LIMIT_S
    load = {
        "do": "load",
        "runtime": draft.case.runtime,
        "artifact": ARTIFACT.dump_python(artifact, mode="json"),
        "threads": draft.case.threads,
        "precision": draft.case.precision,
        "batch_size": draft.case.batch_size,
        "inputs": str(inputs),
    }
    loaded = child.ask(load, limit_s)
    if loaded["status"] != "ok":
        return replace(draft, status=loaded["status"], reason=loaded["reason"])
    warm = child.ask({"do": "warm"}, limit_s)
    if warm["status"] != "ok":
        return replace(draft, status=warm["status"], reason=warm["reason"])
    least = effort.inferences(draft.case.batch_size)
    measure = {"do": "measure", "seconds": effort.seconds, "least": least}
    # Slow models may need long for the least number of inferences.
    timed = child.ask(measure, limit_s + effort.seconds + 3 * least * warm["first_s"])
    if timed["status"] != "ok":
        return replace(draft, status=timed["status"], reason=timed["reason"])
    done = _filled(draft, loaded, warm, timed)
    if draft.round > 0:
        return done
    try:
        return replace(done, parity=_parity(child, artifact, draft.case, limit_s))
    except (launch.ChildDied, ValueError) as exc:
        # What was timed is kept; the row can't be believed all the same.
        return replace(done, status="failed", reason=f"parity: {exc}")


def _filled(
    draft: Measurement,
    loaded: Mapping[str, Any],
    warm: Mapping[str, Any],
    timed: Mapping[str, Any],
) -> Measurement:
    """The three answers as one record."""
    return replace(
        draft,
        status="ok",
        runtime_version=loaded["runtime_version"],
        precision=loaded["precision"],
        notes=loaded["notes"],
        import_s=loaded["import_s"],
        load_s=loaded["load_s"],
        first_s=warm["first_s"],
        warmup_s=warm["warmup_s"],
        warmup_inferences=warm["warmup_inferences"],
        warmup_settled=warm["warmup_settled"],
        latencies_ns=tuple(timed["latencies_ns"]),
        cpu_s=timed["cpu_s"],
        memory=Memory(loaded["imported_bytes"], timed["steady_bytes"], timed["peak_bytes"]),
        surroundings=Surroundings(**timed["surroundings"]),
    )


def _parity(child: launch.Child, artifact: Artifact, case: Case, limit_s: float) -> Parity:
    """The timed session's own answers against those of the fp32 torch module."""
    reference = np.load(Path(artifact.reference) / "logits.npy")
    outputs = child.infer(Path(artifact.reference) / "inputs.npy", limit_s)
    return accuracy.agreement(outputs, reference, accuracy.judged_precision(case))


def file_facts(artifact: Artifact) -> FileFacts:
    """What a row says about its file."""
    return FileFacts(
        key=artifact.key,
        sha256=artifact.sha256,
        format=artifact.format,
        size_bytes=artifact.size_bytes,
        parameters=artifact.parameters,
        nonzero_parameters=artifact.nonzero_parameters,
        rounded_to_zero=artifact.rounded_to_zero,
        macs=artifact.macs,
        build_s=artifact.build_s,
        build_peak_bytes=artifact.build_peak_bytes,
    )
