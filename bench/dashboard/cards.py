"""What a card shows, from what children answered: pure, values in and text out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bench import stats, text
from bench.dashboard.models import Model
from bench.doubt_text import told
from bench.record import Measurement
from bench.rows import Row, speedup
from bench.selftest import are_probabilities
from bench.stats import Estimate

State = Literal["waiting", "working", "done", "failed", "cancelled"]
TOP = 3
P95 = 0.95

Outputs = NDArray[np.floating]


@dataclass(frozen=True, eq=False)
class Seen:
    """What is known of one model on one picture so far.

    ``outputs`` (classes,) are its answer, ``blocks`` its rounds; ``beside_ns`` are latencies while
    ``others`` other models ran. ``notes`` are what a user should know, ``reason`` why it failed.
    ``load_s`` is how long its child took to load it.
    """

    model: Model
    state: State = "waiting"
    outputs: Outputs | None = None
    load_s: float | None = None
    blocks: tuple[Measurement, ...] = ()
    beside_ns: tuple[int, ...] = ()
    others: int = 0
    notes: tuple[str, ...] = ()
    reason: str = ""

    def row(self, usual_canary_s: float | None) -> Row:
        """Its rounds as a row of a table."""
        return Row(self.model.case, self.blocks, usual_canary_s)


@dataclass(frozen=True)
class Guess:
    """A class and its confidence, a share."""

    name: str
    confidence: float


@dataclass(frozen=True)
class Figure:
    """A number to sort by, and the text to show; ``None``: there is none, the text says why."""

    value: float | None = None
    text: str = text.NOTHING


@dataclass(frozen=True)
class Agreement:
    """A model's answer beside the baseline's, on this one picture."""

    same: bool
    text: str


@dataclass(frozen=True)
class Card:
    """One model on one picture, ready to be shown. Latencies in ms, sizes in bytes.

    ``weights`` is the name of its weights; ``named``: its classes have names.
    """

    name: str
    title: str
    variant: str
    recipe: str
    runtime: str
    threads: int
    state: State
    weights: str
    baseline: bool
    trained: bool
    named: bool
    reason: str = ""
    notes: tuple[str, ...] = ()
    top: tuple[Guess, ...] = ()
    runs: int = 0
    planned: int = 0
    median: Figure = Figure()
    p95: Figure = Figure()
    speedup: Figure = Figure()
    size: Figure = Figure()
    parameters: Figure = Figure()
    load: Figure = Figure()
    peak: Figure = Figure()
    agreement: Agreement | None = None
    right: bool | None = None
    parity: str = ""
    verdict: str = ""
    doubts: tuple[str, ...] = field(default_factory=tuple)
    beside: str = ""


def cards(
    seen: Sequence[Seen], first: Model | None, planned: int, usual_canary_s: float | None
) -> list[Card]:
    """A card for each; ``first`` is the baseline, ``planned`` the runs that are to come in all."""
    reference = next((one for one in seen if one.model == first), None)
    return [_card(one, reference, planned, usual_canary_s) for one in seen]


def _card(one: Seen, reference: Seen | None, planned: int, usual_s: float | None) -> Card:
    case, artifact = one.model.case, one.model.artifact
    row = one.row(usual_s)
    runs = sum(len(block.latencies_ns) for block in row.timed)
    right = row.parity.passed if row.parity else None
    return Card(
        name=one.model.name,
        title=one.model.title,
        variant=case.variant,
        recipe=case.recipe,
        runtime=case.runtime,
        threads=case.threads,
        state=one.state,
        baseline=one is reference,
        weights=artifact.weights,
        trained=one.model.trained,
        named=not artifact.placeholder_names,
        reason=one.reason,
        notes=one.notes,
        top=() if one.outputs is None else guesses(one.outputs, artifact.class_names),
        runs=runs,
        planned=planned,
        median=_median(row),
        p95=_p95(row, runs),
        speedup=_speedup(row, one, reference, usual_s),
        size=Figure(artifact.size_bytes, f"{text.megabytes(artifact.size_bytes)} MB"),
        parameters=_parameters(one.model),
        load=_milliseconds(one.load_s),
        peak=_peak(row),
        agreement=_agreement(one, reference),
        right=right,
        parity=text.top1(row.parity) if row.parity else "",
        verdict=row.verdict.level if row.timed else "",
        doubts=told(row) if row.timed else (),
        beside=_beside(one, row),
    )


def guesses(outputs: Outputs, names: Sequence[str], count: int = TOP) -> tuple[Guess, ...]:
    """The ``count`` classes with the highest confidence; of equal ones the first."""
    shares = confidences(outputs)
    order = np.argsort(-shares, kind="stable")[:count]
    return tuple(Guess(names[place], float(shares[place])) for place in order)


def confidences(outputs: Outputs) -> NDArray[np.float64]:
    """Shares (classes,) that add up to 1: the softmax of outputs that have not had one."""
    values = outputs.astype(np.float64)
    done = are_probabilities(outputs[np.newaxis])
    powers = values if done else np.exp(values - values.max())
    shares: NDArray[np.float64] = powers / powers.sum()
    return shares


def _median(row: Row) -> Figure:
    latencies = [latency for block in row.timed for latency in block.latencies_ns]
    if not latencies:
        return Figure()
    found = row.latency_s(0.5) or Estimate(stats.percentile(latencies, 0.5) / 1e9)
    return Figure(1e3 * found.value, f"{text.interval_text(found, 1e3)} ms")


def _p95(row: Row, runs: int) -> Figure:
    if not runs:
        return Figure()
    found = row.latency_s(P95)
    if found is None:
        needed = stats.least_samples(P95)
        return Figure(None, f"{text.NOTHING} (needs {needed} runs, has {runs})")
    return Figure(1e3 * found.value, f"{text.interval_text(found, 1e3)} ms")


def _speedup(row: Row, one: Seen, reference: Seen | None, usual_s: float | None) -> Figure:
    if reference is None or not one.blocks or not reference.blocks:
        return Figure()
    if one is reference:
        return Figure(1.0, "baseline")
    found = speedup(reference.row(usual_s), row)
    return Figure(found.value, text.speedup_text(found)) if found else Figure()


def _parameters(model: Model) -> Figure:
    artifact = model.artifact
    zeros = artifact.parameters - artifact.nonzero_parameters
    shown = f"{text.millions(artifact.nonzero_parameters)} million"
    return Figure(artifact.nonzero_parameters, f"{shown}, {zeros} more are 0" if zeros else shown)


def _milliseconds(seconds: float | None) -> Figure:
    return (
        Figure() if seconds is None else Figure(1e3 * seconds, f"{text.rounded(1e3 * seconds)} ms")
    )


def _peak(row: Row) -> Figure:
    found = [block.memory.peak_bytes for block in row.timed if block.memory]
    return Figure(max(found), f"{text.megabytes(max(found))} MB") if found else Figure()


def _agreement(one: Seen, reference: Seen | None) -> Agreement | None:
    """Only between models that know the same classes."""
    if reference is None or one is reference or one.outputs is None or reference.outputs is None:
        return None
    names = one.model.artifact.class_names
    if names != reference.model.artifact.class_names:
        return Agreement(False, "other classes than the baseline's: nothing to compare")
    ours, theirs = confidences(one.outputs), confidences(reference.outputs)
    same = int(ours.argmax()) == int(theirs.argmax())
    both = {guess.name for guess in guesses(one.outputs, names)} & {
        guess.name for guess in guesses(reference.outputs, names)
    }
    apart = 100 * float(np.abs(ours - theirs).max())
    what = "the same class as the baseline" if same else "another class than the baseline"
    count = min(TOP, len(names))
    return Agreement(
        same,
        f"{what}; {len(both)} of the first {count} are the same, "
        f"confidences differ by {text.rounded(apart, digits=2)} points at most",
    )


def _beside(one: Seen, row: Row) -> str:
    """What running at once did to the latency; empty: it was not tried."""
    if not one.beside_ns or not one.others or not row.timed:
        return ""
    alone = stats.percentile([x for block in row.timed for x in block.latencies_ns], 0.5)
    busy = stats.percentile(one.beside_ns, 0.5)
    models = "another model" if one.others == 1 else f"{one.others} other models"
    return (
        f"{text.rounded(busy / 1e6)} ms while {models} ran: {text.rounded(busy / alone, digits=2)} "
        "times as long as alone"
    )
