"""What ran, what it answered, and where a row's file comes from: parts of its details."""

from __future__ import annotations

from collections.abc import Iterator

from bench import executed, row_text, score_cells, score_tables, scores
from bench.record import Execution, FileFacts, Measurement
from bench.report_page.cells import behind
from bench.report_page.parts import Lines, Part
from bench.report_page.prose import words
from bench.rows import Row, Table, parity_with
from bench.text import NOTHING, millions, percent_interval, rounded
from export.printable import one_line
from export.recipes import RECIPES, chains_of
from export.variants import OWN
from runtimes import PROFILED


def operators(row: Row, table: Table) -> Part:
    """What the runtime made of the file, where it could be asked: nodes and times by operator."""
    if row.is_null or not row.timed:
        return Part()
    found = executed.executions(table).get(executed.key_of(row) or ("", "", ""))
    if found is None:
        return Part(("Nobody asked the runtime what it made of this file.",))
    if found.reason:
        return Part((words(found.reason),))
    said = (
        f"Asked by {words(found.source)}. {found.quantize_nodes} nodes only quantise or "
        f"dequantise; {found.unfused} BatchNorm and Relu nodes stand alone behind a convolution."
    )
    timed = _PROFILED if found.operator_us else _COUNTED
    return Part((timed, said), {"macs": _macs(found), "nodes": _nodes(found)})


_PROFILED = (
    f"Times are medians over {PROFILED} inferences of a profile of their own, in a child in which "
    "nothing else is timed: shares tell where the time goes, and their sum is not the latency."
)
_COUNTED = (
    "Counts, not times: nodes by operator, and multiply-accumulates by the precision in which they "
    "run. How long each operator takes is not recorded."
)


def _macs(found: Execution) -> Lines:
    total = sum(found.macs.values())
    return tuple(
        (name, str(macs), f"{rounded(100 * macs / total, digits=3)} %")
        for name, macs in sorted(found.macs.items(), key=lambda item: (-item[1], item[0]))
        if total
    )


def _nodes(found: Execution) -> Lines:
    """The dearest operators first; without times those that run most."""
    spent_us = found.operator_us
    whole_us = sum(spent_us.values())
    names = dict.fromkeys((*found.operators, *spent_us))
    ordered = sorted(
        names, key=lambda name: (-spent_us.get(name, 0), -found.operators.get(name, 0), name)
    )
    return tuple(
        (
            name,
            str(found.operators.get(name, NOTHING)),
            rounded(spent_us[name]) if name in spent_us else NOTHING,
            f"{100 * spent_us[name] / whole_us:.1f} %" if name in spent_us else NOTHING,
        )
        for name in ordered
    )


def answers(row: Row, table: Table) -> Part:
    """Whether the row is right: parity, and accuracy where labelled images were given."""
    lines = tuple(_answers(row, table))
    return Part(tables={"told": lines}) if lines else Part()


def _answers(row: Row, table: Table) -> Iterator[tuple[str, str]]:
    if row.parity is not None:
        said = "agree" if row.parity.passed else "disagree"
        null = " (a constant, which must disagree)" if row.is_null else ""
        yield f"its outputs and those of the {parity_with(row.case)}", f"{said}{null}"
        yield "how far apart", behind("parity", row, table).tip
    found = table.scored.get(row.case)
    if found is None or table.labelled is None:
        return
    many = len(table.labelled.class_names) > score_tables.MANY_CLASSES
    for k in (1, 3, 5) if many else (1,):
        yield f"top-{k}, %", percent_interval(scores.top(found, k))
    yield "of so many images", f"{len(found)}{'' if row.answers else ', a sample'}"
    compared = table.compared.get(row.case)
    if compared is not None:
        parent = row_text.label(compared.parent, table.varying)
        yield f"points against {parent}", score_cells.points(compared.paired)
        yield "image by image", behind("vs fp32 parent", row, table).tip


def provenance(row: Row) -> Part:
    """Which file that is, how it came to be, and with what it was run; the run's own facts are
    those of the page."""
    last = row.blocks[-1]
    lines = [("row", str(row.case)), ("weights", row.case.weights)]
    if row.file is not None and not row.is_null:
        lines += _file(row.file, row)
    lines += [("begun", block.started) for block in row.blocks[:1] if block.started]
    lines += list(_runtime(last))
    return Part(
        tables={"facts": tuple((name, one_line(value)) for name, value in lines), "run": ()}
    )


def _file(file: FileFacts, row: Row) -> Iterator[tuple[str, str]]:
    yield "key of its provenance", file.key
    yield "sha256 of the file", file.sha256
    yield "steps", _steps(row, file)
    yield "format", file.format
    yield "bytes", str(file.size_bytes)
    yield (
        "parameters, M (non-zero)",
        (f"{millions(file.parameters)} ({millions(file.nonzero_parameters)})"),
    )
    yield "multiply-accumulates for an image", str(file.macs)
    yield "inputs are made by", file.preprocess or "not recorded"
    yield "last step of building, s", rounded(file.build_s)


def _steps(row: Row, file: FileFacts) -> str:
    """By the recipe as it is now: a record has their key, not their names."""
    recipe = RECIPES.get(row.case.recipe)
    chains = {} if recipe is None else chains_of(recipe, given=row.case.weights == OWN)
    steps = chains.get(file.format)
    return "unknown to this version" if steps is None else " → ".join(steps)


def _runtime(block: Measurement) -> Iterator[tuple[str, str]]:
    if block.runtime_version:
        yield "runtime", f"{block.case.runtime} {block.runtime_version}"
    if block.precision:
        yield "computed in", block.precision
    yield from block.notes.items()
