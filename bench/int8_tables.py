"""How the static INT8 files of a run came about, and where they would go wrong.

Pure functions; ``bench.report_sections`` prints what they return.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from bench.case import statically_quantised
from bench.choices import Choice, Score
from bench.host import UNAVAILABLE
from bench.matrix import Grid
from bench.rows import Row, Table
from bench.text import NOTHING, code, difference_text, plain
from export.build import Int8
from export.recipes import REMEDIES

_STATIC = "int8-static"
_VNNI = ("avx_vnni", "avx512_vnni")
_ARM = "asimd"


def choices(chosen: Iterable[Choice]) -> Grid:
    """What ``bench.search`` found best, a variant a line, and what that rests on."""
    return Grid(
        "How INT8 was chosen",
        (
            "variant",
            "weights",
            "method",
            "images",
            "scales",
            "activations",
            "left in fp32",
            "to blame, worst first",
            "limit kept, points of top-1",
            "validation: points against fp32",
            "test: points against fp32",
        ),
        tuple(_choice_cells(one) for one in chosen),
        names=8,
    )


def _choice_cells(one: Choice) -> tuple[str, ...]:
    unfinished = "" if one.finished else " (search not finished)"
    return (
        one.variant,
        _cell(one.weights),
        _method(one.int8),
        str(one.int8.images),
        "per channel" if one.int8.per_channel else "per tensor",
        "unsigned" if one.int8.activation_type == "u8" else "signed",
        _layers(map(one.layer, one.int8.keep_fp32)),
        ", ".join(f"{_cell(layer.shown)} ({layer.error:.2g})" for layer in one.blamed) or "none",
        f"{_kept(one)}, of {one.max_drop:g}{unfinished}",
        _against_fp32(one.val),
        _against_fp32(one.test),
    )


def _method(int8: Int8) -> str:
    share = f" {int8.percentile:g}" if int8.method == "percentile" else ""
    unusual = f", {int8.weight_type} weights" if int8.weight_type != "s8" else ""
    bits = ", 7-bit weights" if int8.reduce_range else ""
    return f"{int8.method}{share}{unusual}{bits}"


def _layers(names: Iterable[str]) -> str:
    return ", ".join(map(_cell, names)) or "none"


def _cell(text: str) -> str:
    """Names out of files: a pipe must not open another column."""
    return plain(text).replace("|", r"\|")


def _kept(one: Choice) -> str:
    if one.met:
        return "yes"
    return "**on validation only**" if one.met_on_val else "**no**"


def _against_fp32(score: Score | None) -> str:
    """Points with their interval, and of how many images."""
    if score is None:
        return NOTHING
    return f"{difference_text(score.turned.difference, 100)} of {score.images} images"


def remarks(chosen: Sequence[Choice], tables: Iterable[Table]) -> list[str]:
    """What decided, for which rows it holds, and which ones were quantised otherwise."""
    rows = [
        row
        for table in tables
        for row in (*table.rows, *table.scenarios)
        if statically_quantised(row.case.recipe) and row.file and not row.is_null
    ]
    data = ", ".join(dict.fromkeys(_cell(one.data) for one in chosen))
    return [
        f"Chosen by `python -m bench.search` on the validation part of {data}; the test part was "
        f"looked at {_once(chosen)}afterwards, and the limit is kept where both keep it. "
        "Intervals are of 95 %; behind a layer to blame stands its harm: 1 less the centred cosine "
        "of the network's outputs with and without INT8 in this layer alone.",
        *(f"`{one.variant}`: {plain(one.warning)}" for one in chosen if one.warning),
        *(_looked(one) for one in chosen if one.looks > 1),
        *_uncounted(chosen),
        *(_made(one) for one in chosen if one.made),
        *_whose(rows),
        *_without_choice(chosen, rows),
    ]


def _once(chosen: Iterable[Choice]) -> str:
    """What holds of all that have asked the test part; others have a sentence of their own."""
    return "once, " if all(one.looks == 1 for one in chosen if one.test) else ""


def _uncounted(chosen: Iterable[Choice]) -> list[str]:
    """Of whom nobody knows how often they looked."""
    names = [f"`{one.variant}`" for one in chosen if one.test and not one.looks]
    if not names:
        return []
    return [
        f"{_listed(names)}: how often the test part was looked at was not counted when that "
        "was searched: once or more."
    ]


def _looked(one: Choice) -> str:
    return (
        f"`{one.variant}`: the test part was looked at {one.looks} times, once for each pick of "
        "searches with other limits or candidates: the best of several looks flatters."
    )


def _made(one: Choice) -> str:
    """Where and by what it was searched."""
    assert one.made is not None  # or it is not asked about
    host = one.made.host.get("CPU", UNAVAILABLE)
    return (
        f"`{one.variant}`: searched on {plain(one.made.started[:10])} by {code(one.made.command)}, "
        f"commit {plain(one.made.commit)}, CPU {plain(host)}."
    )


def _whose(rows: Iterable[Row]) -> list[str]:
    """Which runtimes read the file that was chosen, and which ones have a quantiser of their own.

    The format that was measured tells them apart.
    """
    formats = {row.case.runtime: row.file.format for row in rows if row.file}
    takers = [name for name, suffix in formats.items() if suffix == "onnx"]
    others = [name for name, suffix in formats.items() if suffix != "onnx"]
    read = "reads" if len(takers) == 1 else "read"
    follow = f"It holds for the .onnx file that {_listed(takers)} {read}." if takers else ""
    own = (
        f"It does not hold for the int8-static rows of {_listed(others)}: their INT8 is made by "
        "the quantiser of the format's own converter, which knows nothing of this choice."
        if others
        else ""
    )
    return [text for text in (follow, own) if text]


def _without_choice(chosen: Iterable[Choice], rows: Iterable[Row]) -> list[str]:
    known = {one.variant for one in chosen}
    names = dict.fromkeys(
        f"`{row.case.variant}`" for row in rows if _is_onnx(row) and row.case.variant not in known
    )
    if not names:
        return []
    return [f"Nothing was chosen for {_listed(names)}: quantised as the run's command says."]


def _is_onnx(row: Row) -> bool:
    return row.file is not None and row.file.format == "onnx"


def _listed(names: Iterable[str]) -> str:
    """Names in a sentence."""
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def saturation(host: Mapping[str, str], tables: Iterable[Table]) -> str:
    """What becomes of the measured QDQ files on CPUs without VNNI; empty: there are none.

    ``host`` are the facts in the run's header.
    """
    rows = (row for table in tables for row in (*table.rows, *table.scenarios))
    if not any(row.case.recipe == _STATIC and row.timed and _is_onnx(row) for row in rows):
        return ""
    remedies = _listed(f"`{name}`" for name in REMEDIES)
    return (
        f"{_here(host.get('instruction sets', UNAVAILABLE))}; on x86 CPUs without VNNI the same "
        f"QDQ file of `{_STATIC}` may lose accuracy, because sums of 16 bits saturate: "
        "`python -m export.saturation FILE.onnx` tells how often that would "
        f"happen in each layer, and the recipes {remedies} rule it out."
    )


def _here(sets: str) -> str:
    """Whether the host that measured has VNNI."""
    if sets == UNAVAILABLE:
        return "Whether this host has VNNI is not recorded"
    names = sets.split(", ")
    if any(name in names for name in _VNNI):
        return "This host has VNNI, which adds in 32 bits"
    if _ARM in names:
        return "This host is no x86 CPU, and has no need of VNNI"
    return f"This host has no VNNI: the accuracy of its {_STATIC} rows may have suffered"
