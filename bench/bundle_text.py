"""A bundle's README: what was measured and where, how the model came to be; pure functions."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench import resources, scores
from bench.bundle import FILES, MOBILE, Link, Model, Provenance, Tolerance
from bench.record import RunHeader
from bench.report_columns import COLUMNS
from bench.row_text import verdict_text
from bench.rows import Row, Table, parity_with, runtime_name, speedup
from bench.score_cells import against_parent
from bench.text import (
    NOTHING,
    code,
    interval_text,
    megabytes,
    percent_interval,
    plain,
    speedup_text,
)
from export.images import CHANNEL_ORDERS
from export.variants import OWN

_STEPS_SHOWN = ("options", "weights", "surgery", "data", "host")
_FROM_LIBRARIES = ("libraries", "step_libraries")


@dataclass(frozen=True)
class Text:
    """What a README is written from. ``objections``: why the row was shipped only by force.

    ``mobile`` says why there is no file in ONNX Runtime's own format; ``None`` where none
    could be, empty where it is there.
    """

    model: Model
    provenance: Provenance
    header: RunHeader
    row: Row
    table: Table
    objections: Sequence[str] = ()
    notes: Sequence[str] = ()
    mobile: str | None = None
    own_images: bool = True


def readme(text: Text) -> str:
    """The page, as Markdown."""
    parts = (
        _introduction(text),
        _doubts(text),
        _use(text),
        _measured(text),
        _takes(text.model),
        _origin(text),
        _mobile(text),
        _check(text),
    )
    return "\n\n".join(part for part in parts if part) + "\n"


def numbers(row: Row, table: Table) -> list[str]:
    """The measured numbers that follow from the row's own blocks, each a line of Markdown."""
    return _lines(_numbers(row, table))


def _lines(found: Iterable[tuple[str, str]]) -> list[str]:
    return [f"| {name} | {value} |" for name, value in found if value != NOTHING]


def _introduction(text: Text) -> str:
    case = text.row.case
    return (
        f"# {plain(case.shown_variant)}, {case.recipe}, for {runtime_name(case)}\n\n"
        f"The row {code(str(case))} of run {plain(text.header.run)}, packed to run by itself: "
        f"{len(text.model.classes)} classes, {case.threads} thread(s), batches of "
        f"{case.batch_size}."
    )


def _doubts(text: Text) -> str:
    """First what should have kept the row from being shipped."""
    lines = [f"> **Do not trust this blindly: {plain(line)}.**" for line in text.objections]
    if lines:
        lines.append("> It was packed with `--force`.")
    if text.model.placeholder_names:
        lines.append("> The weights do not name their classes: the names are made up.")
    needs = text.model.fixes.get("instruction_set")
    if needs:
        lines.append(f"> The file was made for CPUs with: {plain(needs)}. Others may refuse it.")
    return "\n>\n".join(lines)


def _use(text: Text) -> str:
    given = text.model.environment.items()
    variables = ", ".join(f"`{name}={value}`" for name, value in given)
    return f"""## Use

```sh
python -m venv .venv
.venv/bin/pip install -r requirements.txt
.venv/bin/python selftest.py
.venv/bin/python predict.py IMAGE...
```

`selftest.py` answers stored images again and ends with 1 where the answers are others:
{_allowed(text.model.tolerance)}.
Where it was packed it had to keep {_allowed(text.model.tolerance_when_packed)}, and did;
`selftest.py --when-packed` demands that again.
From Python, `predict.predict(images, top=5)` takes Pillow images and gives pairs of class and
confidence, `predict.logits(images)` the raw outputs{_already(text.model)}.
Importing `predict` sets {variables} in its process, as when it was measured."""


def _allowed(tolerance: Tolerance) -> str:
    most, least = tolerance.max_error, tolerance.min_cosine
    error = [] if most is None else [f"an error of {most:g} of the largest answer at most"]
    return " and ".join([*error, *([] if least is None else [f"a cosine of {least:g} at least"])])


def _already(model: Model) -> str:
    return ", which are confidences already" if model.probabilities else ""


def _measured(text: Text) -> str:
    header = text.header
    beside = _lines(_beside(text.row, text.table))
    rows = "\n".join([*numbers(text.row, text.table), *beside])
    host = "; ".join(f"{plain(name)} {plain(value)}" for name, value in header.host.items())
    facts = {
        "Measured": f"{header.started}, {_blocks(text.row)} of {header.seconds:g} s",
        "Code": f"deploybench at commit {plain(header.commit)}",
        "Command": code(header.command),
        "Host": host,
        "Versions": ", ".join(f"{plain(k)} {plain(v)}" for k, v in header.versions.items()),
    }
    lines = "\n".join(f"- {name}: {value}" for name, value in facts.items())
    noted = "".join(f"\n- Note: {note}" for note in text.notes)
    return f"""## Measured

Medians with 95 % intervals over blocks, each a fresh process.
A percentile that its samples don't support is left out; the raw ones stand in `measured.jsonl`.

| what | value |
|---|---|
{rows}

{lines}{noted}"""


def _blocks(row: Row) -> str:
    count = len(row.timed)
    return f"{count} block{'s' if count > 1 else ''}"


def _numbers(row: Row, table: Table) -> Iterator[tuple[str, str]]:
    for p in resources.PERCENTILES:
        yield f"latency, p{100 * p:g}, ms", interval_text(row.latency_s(p), 1e3)
    yield "load, ms", interval_text(row.over_blocks(lambda block: block.load_s), 1e3)
    yield "first inference, ms", interval_text(row.over_blocks(lambda block: block.first_s), 1e3)
    memory = row.memory_bytes(lambda memory: memory.peak_bytes)
    imported = row.memory_bytes(lambda memory: memory.imported_bytes)
    yield "peak memory, MB", interval_text(memory, 1e-6)
    yield "of it the runtime, imported, MB", interval_text(imported, 1e-6)
    yield "model, MB", megabytes(row.file.size_bytes) if row.file else NOTHING
    yield "accuracy, top-1, %", _accuracy(row, table)
    yield f"parity with the {parity_with(row.case)}", _PARITY.cell(row, table)
    yield "verdict on the times", verdict_text(row.verdict)


def _beside(row: Row, table: Table) -> Iterator[tuple[str, str]]:
    """What it takes the run's other rows to say."""
    yield "accuracy against its fp32 parent, points", against_parent(row, table)
    if table.reference is not None and table.reference is not row:
        name = code(str(table.reference.case))
        yield f"speed-up over {name}", speedup_text(speedup(table.reference, row))


_PARITY = next(column for column in COLUMNS if column.title == "parity")


def _accuracy(row: Row, table: Table) -> str:
    found = table.scored.get(row.case)
    labelled = table.labelled
    if found is None or labelled is None:
        return NOTHING
    where = f"{len(found)} images of {plain(labelled.data)}, part {plain(labelled.split)}"
    return f"{percent_interval(scores.top(found, 1))}, {where}"


_COLOURS = {"RGB": "RGB", "BGR": "BGR (blue first)", "GREY": "one channel of grey"}


def _takes(model: Model) -> str:
    how = model.preprocess
    mean, std = ([float(value) for value in how[name]] for name in ("mean", "std"))
    channels = CHANNEL_ORDERS[how["channel_order"]]
    ends = f"{channels}, height, width" if how["layout"] == "NCHW" else f"height, width, {channels}"
    steps = (
        f"An image is turned upright (EXIF) and taken as {_COLOURS[how['channel_order']]}, "
        f"{_resized(how)}, multiplied by {how['scale']:.6g}, less the mean {mean}, over the "
        f"deviation {std}: float32, (batch, {ends})."
    )
    return (
        f"## What it takes\n\n{steps}\n`model.json` has the same for programs, with threads, "
        "precision and the classes in the order of the outputs; `classes.txt` the classes alone."
    )


def _resized(how: Mapping[str, Any]) -> str:
    """As ``export.images.Preprocess`` has it."""
    (height, width), first = how["size"], how["first"]
    sides = f"{height} x {width} pixels (height x width)"
    kind = f"Pillow's {how['filter']} filter"
    if how["resize"] == "squash":
        before = f"squashed to {first} x {first} pixels (bilinear), then " if first else ""
        return f"{before}squashed to {sides} with {kind}"
    until = f"its shorter side has {first} pixels" if first else "it just covers what is wanted"
    return f"resized in its proportions with {kind} until {until}, cut to the middle {sides}"


def _origin(text: Text) -> str:
    links = (*text.provenance.chain, text.provenance.reference)
    lines = "\n".join(_link(link) for link in links)
    known = (link.provenance["weights"] for link in links if "weights" in link.provenance)
    weights: Sequence[str] = next(known, [])
    case = text.provenance.case
    gone = "unknown: the chain's first file is gone"
    own = f"those of the given file {case.variant}" if case.weights == OWN else gone
    named = ", ".join(map(str, weights)) or own
    return f"""## How it came to be

- Weights: {plain(named)}; all of the run: {plain(text.header.weights)}
- Images for calibration and parity: {plain(text.header.data)}

Each file was made from the one above it; the last is the reference of parity.
A key ends in the hash of all that went into a file, which `provenance.json` has in full.

| key | recipe | sha256 | made with |
|---|---|---|---|
{lines}"""


def _link(link: Link) -> str:
    chosen = {name: link.provenance[name] for name in _STEPS_SHOWN if name in link.provenance}
    for name in _FROM_LIBRARIES:
        chosen |= link.provenance.get(name, {})
    options = code(json.dumps(chosen)) if chosen else NOTHING
    digest = link.sha256[:16] or "no longer in the store"
    return f"| {plain(link.key)} | {plain(link.recipe) or NOTHING} | {digest} | {options} |"


def _mobile(text: Text) -> str:
    if text.mobile is None:
        return ""
    title = "## For mobile builds of ONNX Runtime\n\n"
    if text.mobile:
        return f"{title}There is no file in ORT format: {plain(text.mobile)}."
    return (
        f"{title}`{MOBILE}/` has the model in ORT format, converted by ONNX Runtime's own tool in "
        "style Fixed (for this kind of CPU), and the list of operators that a minimal build "
        "needs. The numbers above are not of this file."
    )


def _check(text: Text) -> str:
    whose = (
        "crops of the two photographs that scikit-learn ships"
        if text.own_images
        else "images of the data set that was named with `--with-images`"
    )
    return f"""## Check

```sh
sha256sum -c SHA256SUMS
python -m bench.verify .
```

The first checks every file.
The second, with deploybench installed, also recomputes the chain's hashes and measures `{FILES}/`.
The images of the self-test are {whose}."""
