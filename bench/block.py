"""One block: one fresh child process for one case, and what came of it."""

from __future__ import annotations

import datetime
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from bench import accuracy, host, labelled, launch, page_cache, stats
from bench.case import Case
from bench.record import (
    Canary,
    ColdStart,
    Execution,
    FileFacts,
    Measurement,
    Memory,
    Parity,
    Surroundings,
)
from export.artifact import Artifact, artifact_adapter, model_files
from runtimes import REGISTRY

_LEAST_BATCHES = 4
Then = Callable[[launch.Child, Measurement], Measurement]
"""What a block's child does after the timed loop, and what becomes of the block by it."""


@dataclass(frozen=True)
class Effort:
    """How long a block measures, and within what. ``samples`` counts images.

    ``root`` is the checkout whose code measures; ``None``: ours.
    In a case's first block the child is watched for ``idle_s`` after its last inference;
    with ``cold`` another child is started, with the model file out of the page cache.
    With ``explain`` one more is asked what its runtime made of the file.
    ``question`` is about labelled images: the child that was timed answers some in the first block.
    ``tied`` children die with the process that started them.
    """

    seconds: float
    samples: int
    memory_bytes: int = 0
    logs: Path = Path("logs")
    idle_s: float = 0.0
    cold: bool = False
    explain: bool = False
    worker: tuple[str, ...] = launch.WORKER
    root: Path | None = None
    question: labelled.Question | None = None
    tied: bool = False

    def inferences(self, batch_size: int) -> int:
        """The least number of inferences: fewer of a batch, but still enough for a median."""
        return min(self.samples, max(_LEAST_BATCHES, math.ceil(self.samples / batch_size)))


def run_block(
    case: Case, number: int, artifact: Artifact, effort: Effort, then: Then | None = None
) -> Measurement:
    """Measure one block. Whatever happens to the child becomes part of the result."""
    begun = time.perf_counter()
    draft = begun_block(case, number, artifact)
    before_s = host.canary_s(time.perf_counter)
    try:
        _keep_in_memory(model_files(Path(artifact.folder)))
        with _child(case, effort) as child:
            block = _talk(child, draft, artifact, effort)
            if then is not None and block.status == "ok":
                block = then(child, block)
    except (launch.ChildDied, OSError) as exc:
        block = replace(draft, reason=str(exc))
    block = replace(block, canary=Canary(before_s, host.canary_s(time.perf_counter)))
    if effort.cold and number == 0 and block.status == "ok":
        block = _with_cold_start(block, artifact, effort)
    if effort.explain and block.status == "ok":
        block = replace(block, execution=_execution(case, artifact, effort))
    return replace(block, block_s=time.perf_counter() - begun)


def begun_block(case: Case, number: int, artifact: Artifact) -> Measurement:
    """What is known before a child was started; failed, until it has answered."""
    return Measurement(
        case,
        number,
        status="failed",
        started=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        file=file_facts(artifact),
    )


def _keep_in_memory(files: Sequence[Path]) -> None:
    """Let the child find its file in the page cache; what is read from a disk is another number."""
    if page_cache.resident_share(files) != 1:
        page_cache.read(files)


def _child(case: Case, effort: Effort) -> launch.Child:
    log = effort.logs / f"{str(case).replace('/', '_')}.log"
    setting = launch.Setting(
        case.threads, effort.memory_bytes, effort.worker, effort.root, effort.tied
    )
    return launch.Child(setting, log)


def _with_cold_start(block: Measurement, artifact: Artifact, effort: Effort) -> Measurement:
    """``block`` with the cold start of a child whose file must come from the disk.

    What fails here has just worked with the file in memory: the block is kept, and says so.
    """
    try:
        page_cache.drop(model_files(Path(artifact.folder)))
        with _child(block.case, effort) as child:
            answer = child.ask(load_message(block.case, artifact), launch.LOAD_LIMIT_S)
    except (launch.ChildDied, OSError) as exc:
        return beside(block, f"cold start: {exc}")
    if answer["status"] != "ok":
        return beside(block, f"cold start: {answer['reason']}")
    leaves = {name: answer[name] for name in ("import_s", "read_s", "load_s", "first_s")}
    share = answer["resident_share"]
    return replace(
        block, cold=ColdStart(**leaves, total_s=answer["cold_start_s"], resident_share=share)
    )


def _execution(case: Case, artifact: Artifact, effort: Effort) -> Execution:
    """What the runtime made of the file, from a child that times nothing."""
    if not REGISTRY[case.runtime].explains:
        return Execution(reason=f"{case.runtime} does not tell what it made of a file")
    try:
        with _child(case, effort) as child:
            message = {**load_message(case, artifact), "do": "explain"}
            answer = child.ask(message, launch.LOAD_LIMIT_S)
    except (launch.ChildDied, OSError) as exc:
        return Execution(reason=str(exc))
    if answer["status"] != "ok":
        return Execution(reason=answer["reason"])
    return Execution(**answer["execution"])


def load_message(case: Case, artifact: Artifact) -> dict[str, Any]:
    """What a child is told first."""
    return {
        "do": "load",
        "runtime": case.runtime,
        "artifact": artifact_adapter().dump_python(artifact, mode="json"),
        "threads": case.threads,
        "precision": case.precision,
        "batch_size": case.batch_size,
        "inputs": str(Path(artifact.reference) / "inputs.npy"),
    }


def _talk(
    child: launch.Child, draft: Measurement, artifact: Artifact, effort: Effort
) -> Measurement:
    """load, warm, measure, and in the first block the answers to the parity images."""
    limit_s = launch.LOAD_LIMIT_S
    loaded = child.ask(load_message(draft.case, artifact), limit_s)
    if loaded["status"] != "ok":
        return replace(draft, status=loaded["status"], reason=loaded["reason"])
    warm = child.ask({"do": "warm"}, limit_s)
    if warm["status"] != "ok":
        return replace(draft, status=warm["status"], reason=warm["reason"])
    least = effort.inferences(draft.case.batch_size)
    idle_s = effort.idle_s if draft.round == 0 else 0.0
    measure = {"do": "measure", "seconds": effort.seconds, "least": least, "idle_s": idle_s}
    # Slow models may need long for the least number of inferences.
    timed = child.ask(measure, limit_s + effort.seconds + 3 * least * loaded["first_s"])
    if timed["status"] != "ok":
        return replace(draft, status=timed["status"], reason=timed["reason"])
    done = filled(draft, loaded, warm, timed)
    if draft.round > 0:
        return done
    try:
        done = replace(done, parity=parity(child, artifact, draft.case, limit_s))
    except (launch.ChildDied, ValueError) as exc:
        # What was timed is kept; the row can't be believed all the same.
        return replace(done, status="failed", reason=f"parity: {exc}")
    return _with_sample(child, done, effort.question) if effort.question else done


def _with_sample(
    child: launch.Child, block: Measurement, question: labelled.Question
) -> Measurement:
    """``block`` with what the session that was timed says to a few labelled images."""
    try:
        answers = labelled.ask(child, question, image_s(block), sample=True)
    except launch.ChildDied as exc:
        return beside(block, f"accuracy: {exc}")
    return replace(block, sampled=answers)


def with_answers(
    block: Measurement, artifact: Artifact, effort: Effort, question: labelled.Question
) -> Measurement:
    """``block`` with what another child of its case says to all labelled images.

    What was timed is kept whatever happens to that child, and says so.
    """
    try:
        with _child(block.case, effort) as child:
            loaded = child.ask(load_message(block.case, artifact), launch.LOAD_LIMIT_S)
            if loaded["status"] != "ok":
                raise launch.ChildDied(loaded["reason"])
            answers = labelled.ask(child, question, image_s(block))
    except (launch.ChildDied, OSError) as exc:
        return beside(block, f"accuracy: {exc}")
    return replace(block, answers=answers)


def beside(block: Measurement, reason: str) -> Measurement:
    """``block`` with what went wrong beside its timed loop, after what is known of that."""
    return replace(block, reason="; ".join(filter(None, (block.reason, reason))))


def image_s(block: Measurement) -> float:
    """The median latency for one image of the batch, in seconds."""
    return stats.percentile(block.latencies_ns, 0.5) / 1e9 / block.case.batch_size


def filled(
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
        first_s=loaded["first_s"],
        read_s=loaded["read_s"],
        cold_start_s=loaded["cold_start_s"],
        warmup_s=warm["warmup_s"],
        warmup_inferences=warm["warmup_inferences"],
        warmup_settled=warm["warmup_settled"],
        warmup_foreign_cpu_s=warm["warmup_foreign_cpu_s"],
        warmup_steal_s=warm["warmup_steal_s"],
        warmup_switches=warm["warmup_switches"],
        latencies_ns=tuple(timed["latencies_ns"]),
        cpu_s=timed["cpu_s"],
        idle_cpu_s=timed["idle_cpu_s"],
        memory=Memory(loaded["imported_bytes"], **timed["memory"]),
        surroundings=Surroundings(**timed["surroundings"]),
    )


def parity(child: launch.Child, artifact: Artifact, case: Case, limit_s: float) -> Parity:
    """The timed session's own answers against those of the fp32 torch module."""
    reference = np.load(Path(artifact.reference) / "logits.npy")
    outputs = child.infer(Path(artifact.reference) / "inputs.npy", limit_s)
    return accuracy.agreement(outputs, reference, accuracy.parity_limit(case))


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
        layers=artifact.layers,
        preprocess=artifact.preprocess,
        learnt_size=artifact.learnt_size,
        unnamed_classes=artifact.placeholder_names or artifact.assumed_names,
        note=artifact.facts.get("note", ""),
    )
