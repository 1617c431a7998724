"""Did the optimisation happen? What runtimes made of the files, and why a row is not faster.

Pure functions over ``bench.rows``; ``bench.report_sections`` prints what they return.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from bench.accuracy import judged_precision
from bench.matrix import Grid
from bench.record import Execution
from bench.resources import mark
from bench.rows import Row, Table, best_fp32, family_of, runtime_name, same_setting, speedup
from bench.stats import Estimate
from bench.text import NOTHING, millions, rounded, speedup_text
from export.variants import VARIANTS

EDGES = 2
"""Quantising the input and dequantising the output: so many nodes an INT8 file needs."""
_MOSTLY = 0.5
_ZEROS = 0.05
"""Shares from which on INT8 counts as done, and stored zeros are worth a word."""
_HARDLY = 0.005
"""Less than this saved is nothing saved."""
TELLING = 1.5
"""An interval that reaches higher doesn't say that a row is not faster: nothing is known."""
_OPERATORS = 4
_PLAIN = "fp32"

Key = tuple[str, str, str]


def executions(table: Table) -> Mapping[Key, Execution]:
    """What is known by file, runtime and precision: it is asked once for all rows of these.

    Whichever block came first was asked, a copy's or another scenario's as likely as a row's own.
    """
    return {
        key: block.execution
        for row in (*table.rows, *table.scenarios)
        if (key := key_of(row)) is not None
        for block in row.blocks
        if block.execution is not None
    }


def key_of(row: Row) -> Key | None:
    """Under which what is known of a row stands in ``executions``; ``None``: it has no file."""
    return None if row.file is None else (row.file.key, row.case.runtime, row.case.precision)


def grid(table: Table) -> Grid | None:
    """A line for each file and runtime that could be asked; ``None`` where none could."""
    known = {key: found for key, found in executions(table).items() if found.macs}
    asked: dict[Key, list[Row]] = {}
    for row in table.rows:
        key = key_of(row)
        if key is not None and key in known:
            asked.setdefault(key, []).append(row)
    lines = [
        (row.case.shown_variant, row.case.recipe, runtime_name(row.case), *_cells(row, known[key]))
        for key, (row, *_) in asked.items()
    ]
    if not lines:
        return None
    head = (
        *("variant", "recipe", "runtime", "multiply-accumulates run in", "quantisers left"),
        *("unfused", "zeros stored, M", "operators that run most"),
    )
    title = f"{family_of(table.rows[0].case)}: what ran"
    cases = tuple(tuple(row.case for row in rows) for rows in asked.values())
    return Grid(title, head, tuple(lines), names=3, cases=cases)


def _cells(row: Row, found: Execution) -> Iterator[str]:
    total = sum(found.macs.values())
    shares = sorted(found.macs.items(), key=lambda item: (-item[1], item[0]))
    yield ", ".join(f"{name} {_percent(macs / total)}" for name, macs in shares)
    yield str(found.quantize_nodes)
    yield str(found.unfused)
    yield NOTHING if row.file is None else millions(stored_zeros(row))
    most = sorted(found.operators.items(), key=lambda item: (-item[1], item[0]))[:_OPERATORS]
    yield ", ".join(f"{count} {name}" for name, count in most)


def stored_zeros(row: Row) -> int:
    """Weights that are zero by pruning (or never were anything else) and stand in the file."""
    return 0 if row.file is None else row.file.parameters - row.file.nonzero_parameters


def sentences(table: Table) -> tuple[str, ...]:
    """Why variants, recipes and precisions are not faster than what they were made from.

    One sentence for each pair and reason, with the rows of which it holds. Silent
    where a row is proven to be faster, where its ratio has no interval or one
    that reaches so high that nothing is known, and of numbers that prove nothing;
    where one of the two rows is doubtful, it says so.
    """
    known = executions(table)
    found: dict[tuple[str, str, str], list[str]] = {}
    for row in table.rows:
        for parent in parents(row, table):
            ratio = speedup(parent, row)
            if ratio is not None and _not_faster(ratio):
                why = "; ".join(reasons(row, parent, known)) or "nothing that was counted tells why"
                subject, base, where = _names(row, parent, table.varying)
                told = speedup_text(ratio, table.told_apart)
                line = f"{where}{mark(row, parent)}: {told}"
                found.setdefault((subject, base, why), []).append(line)
    return tuple(
        f"{subject} is not faster than {base}: {why} ({'; '.join(rows)})."
        for (subject, base, why), rows in found.items()
    )


def _not_faster(ratio: Estimate) -> bool:
    """Whether the interval contains 1 or lies below it, and says more than that."""
    if ratio.low is None or ratio.high is None:
        return False
    return ratio.low <= 1 and ratio.high < TELLING


def _names(row: Row, parent: Row, varying: Collection[str]) -> tuple[str, str, str]:
    """What differs between two rows, of either, and where else they stand."""
    case, base = row.case, parent.case
    setting = [f"t{case.threads}"] if "threads" in varying else []
    setting += [f"b{case.batch_size}"] if "batch_size" in varying else []
    if case.variant != base.variant:
        place = [case.recipe, "on", runtime_name(case), *setting]
        return f"`{case.variant}`", f"`{base.variant}`", " ".join(place)
    place = [case.variant, "on", case.runtime, *setting]
    if case.recipe != base.recipe:
        return f"`{case.recipe}`", f"`{base.recipe}`", " ".join(place)
    place.insert(1, case.recipe)
    return f"`{case.precision}`", f"`{base.precision}`", " ".join(place)


def parents(row: Row, table: Table) -> Iterator[Row]:
    """The rows of what this one was made from: its variant's parent, and its fp32 file or run."""
    if not _believable(row):
        return
    variant = VARIANTS.get(row.case.variant)
    case = row.case
    wanted = [(variant.parent, case.recipe, case.precision)] if variant and variant.parent else []
    if case.precision != _PLAIN:
        wanted.append((case.variant, case.recipe, _PLAIN))
    elif case.recipe != _PLAIN and judged_precision(case) != "int8":
        wanted.append((case.variant, _PLAIN, _PLAIN))
    for other in table.rows:
        own = (other.case.variant, other.case.recipe, other.case.precision)
        if own in wanted and same_setting(other.case, case) and _believable(other):
            yield other
    rival = best_fp32(row, table)
    if rival is not None and _believable(rival):
        yield rival


def _believable(row: Row) -> bool:
    return row.candidate and row.verdict.level != "INVALID"


def reasons(row: Row, parent: Row, known: Mapping[Key, Execution]) -> Iterator[str]:
    """What the counts say about two rows, the weightiest first."""
    found, before = (known.get(key_of(one) or ("", "", "")) for one in (row, parent))
    if row.case.variant != parent.case.variant:
        yield from _saved(row, parent)
    else:
        yield from _lowered(row, found)
        yield from _same(row, found, before)
    if found is not None and found.quantize_nodes > max(EDGES, _quantisers(before)):
        yield f"{found.quantize_nodes} nodes that only quantise or dequantise are left"
    if found is not None and found.unfused > (before.unfused if before else 0):
        yield f"{found.unfused} BatchNorm or Relu nodes stand alone behind convolutions"
    if row.file is not None and stored_zeros(row) > _ZEROS * row.file.parameters:
        share = _percent(stored_zeros(row) / row.file.parameters)
        yield f"pruned zeros, {share} of its weights, are still stored and multiplied"


def _quantisers(found: Execution | None) -> int:
    return 0 if found is None else found.quantize_nodes


def _saved(row: Row, parent: Row) -> Iterator[str]:
    """How much of the weights and of the work a variant does without."""
    if row.file is None or parent.file is None or not parent.file.macs or not row.file.macs:
        return
    weights = 1 - row.file.parameters / parent.file.parameters
    macs = 1 - row.file.macs / parent.file.macs
    if macs < -_HARDLY:
        yield f"it has {_percent(-macs)} more multiply-accumulates"
    elif max(weights, macs) < _HARDLY:
        yield "it saves neither weights nor multiply-accumulates"
    elif weights < _HARDLY:
        yield f"it saves {_percent(macs)} of the multiply-accumulates and none of the weights"
    else:
        work = "none" if macs < _HARDLY else _percent(macs)
        joined = "and" if macs >= weights else "but" if macs < _HARDLY else "but only"
        yield (
            f"it saves {_percent(weights)} of the weights {joined} {work} of the "
            "multiply-accumulates"
        )
    layers, before = len(row.file.layers), len(parent.file.layers)
    if macs >= _HARDLY and layers > before > 0:
        yield f"they are spread over {layers} layers instead of {before}"


def _lowered(row: Row, found: Execution | None) -> Iterator[str]:
    """How much of the work runs in the lower precision that the row is named for."""
    precision = judged_precision(row.case)
    if precision == "fp16":
        yield "weights are stored in fp16 and computed with in fp32"
    if precision == "int4":
        yield "fully connected weights are stored in 4 bits and computed with in fp32"
    if precision not in ("int8", "bf16"):
        return
    name = "INT8" if precision == "int8" else precision
    share = _share(row, precision, found)
    if share is not None and share < _MOSTLY:
        only = "none" if share == 0 else f"only {_percent(share)}"
        who = "run" if found is not None and found.macs else "are stored to run"
        yield f"{only} of the multiply-accumulates {who} in {name}"


def _share(row: Row, precision: str, found: Execution | None) -> float | None:
    """Of the multiply-accumulates, by what the runtime says, else by what the file stores."""
    if found is not None and found.macs:
        return found.macs.get(precision, 0) / sum(found.macs.values())
    layers = row.file.layers if row.file and precision == "int8" else ()
    own = sum(layer.macs for layer in layers if layer.precision == precision)
    return own / sum(layer.macs for layer in layers) if layers else None


def _same(row: Row, found: Execution | None, before: Execution | None) -> Iterator[str]:
    """Whether the runtime does the very same for both files."""
    if found is None or before is None or not found.operators:
        return
    if (found.operators, found.macs) == (before.operators, before.macs):
        yield f"{row.case.runtime} runs the same operators for both"


def _percent(share: float) -> str:
    """Two digits; three of what is nearly all."""
    return f"{rounded(100 * share, digits=3 if share >= 0.99 else 2)} %"
