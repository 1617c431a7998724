"""What the numbers of a run hold for, as Markdown: when, where, of what, and how far it got."""

from __future__ import annotations

from collections.abc import Iterable

from bench import prepared
from bench.options import SCENARIOS
from bench.record import Checkpoint, Labelled, Measurement, Run, RunHeader
from bench.text import code, plain


def title(run: Run) -> str:
    """When a run was begun, of which suite and scenarios, as Markdown."""
    header = run.header
    return f"Run of {plain(header.started)}, suite {plain(header.suite)}{_scenarios(run)}"


def _scenarios(run: Run) -> str:
    """Which scenarios a run is of besides our own loop, so that none is taken for the usual one."""
    names = {case.scenario for case in run.header.cases} - {"single"}
    names |= {block.case.scenario for block in run.measurements if block.load_test}
    found = [name for name in SCENARIOS if name in names]
    return f", scenarios {', '.join(found)}" if found else ""


def facts(run: Run) -> dict[str, str]:
    """Host, versions, date, commit, command, as Markdown: what the numbers hold for."""
    header = run.header
    cases = header.cases or tuple({block.case for block in run.measurements})
    threads = ", ".join(str(n) for n in sorted({case.threads for case in cases}))
    batches = ", ".join(str(n) for n in sorted({case.batch_size for case in cases}))
    return {
        "Command": code(header.command),
        "Code": f"commit {plain(header.commit)}{_base(header)}",
        "Measured": f"{_blocks(header)}, threads {threads}, batch {batches}",
        "Weights": f"{plain(header.weights)}; images: {plain(header.data)}",
        **_checkpoints(header.checkpoints),
        **_prepared(run.measurements),
        **labelled_fact(header.labelled),
        "Host": "; ".join(f"{plain(k)} {plain(v)}" for k, v in header.host.items()),
        "Versions": ", ".join(f"{plain(k)} {plain(v)}" for k, v in header.versions.items()),
    }


def _blocks(header: RunHeader) -> str:
    """How many blocks a row got; of a budget, why there were no more."""
    each = f"{header.blocks} block{'' if header.budget else 's'} of {header.seconds:g} s a row"
    if header.budget is None:
        return each
    end = plain(header.budget.stopped) or "interrupted"
    return (
        f"{each}, then further ones in pairs of rounds for the rows on which they decide something "
        f"(--budget of {header.budget.seconds:g} s; ended: {end})"
    )


def _checkpoints(found: Iterable[Checkpoint]) -> dict[str, str]:
    """Which files the weights came from: whoever measures again needs those of the user."""
    texts = [
        f"`{plain(one.variant)}`: {plain(one.file)} (sha256 {plain(one.sha256[:12])}, "
        f"{'comes with the package' if one.packaged else 'not part of the project'})"
        for one in found
    ]
    return {"Checkpoints": ", ".join(texts)} if texts else {}


def _prepared(measurements: Iterable[Measurement]) -> dict[str, str]:
    """What was done to an image before a network saw it."""
    text = prepared.prepared(measurements)
    return {"Images": text} if text else {}


def labelled_fact(found: Labelled | None) -> dict[str, str]:
    """Which images the accuracy is of."""
    if found is None:
        return {}
    what = f"{len(found.labels)} images in {len(found.class_names)} classes"
    where = f"{plain(found.data)}, split {plain(found.split)}"
    return {"Accuracy": f"of {what}: {where} (fingerprint {plain(found.images[:12])})"}


def _base(header: RunHeader) -> str:
    """Which other code the rows called base come from."""
    if header.against is None:
        return ""
    name, commit = plain(header.against.name), plain(header.against.commit)
    return f"; of the rows called base: {name}, commit {commit}"


def interruption(run: Run) -> str:
    """Which cases of the plan have no block yet."""
    measured = {block.case for block in run.measurements}
    missing = [f"`{case}`" for case in run.header.cases if case not in measured]
    if not missing:
        return ""
    return (
        f"**Interrupted**: {len(missing)} of {len(run.header.cases)} cases have no block yet "
        f"(the same command goes on with them): {', '.join(missing)}."
    )


def judged(run: Run) -> bool:
    """Whether a run has answers to labelled images."""
    return run.header.labelled is not None and any(
        block.answers or block.sampled for block in run.measurements
    )
