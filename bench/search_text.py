"""What a search found, in words: pure functions over a choice."""

from __future__ import annotations

from collections.abc import Iterator

from tabulate import tabulate

from bench.choices import Choice, Score
from bench.score_tables import visible
from bench.text import difference_text, p_value

_TITLES = (
    "part",
    "images",
    "fp32, %",
    "INT8, %",
    "right → wrong",
    "wrong → right",
    "McNemar p",
    "difference, points",
    "could have shown a drop of",
    "limit",
)


def outcome(choice: Choice) -> str:
    """One sentence: whether the limit is kept where it was decided, and where it was not."""
    return f"at most {choice.max_drop:g} points lost: " + "; ".join(
        [*_parts(choice), *_looked(choice.looks)]
    )


def _looked(looks: int) -> Iterator[str]:
    """That the test part is not as untouched as its interval and p take it to be."""
    if looks > 1:
        yield (
            f"test was looked at {looks} times by now: its figures are those of one look, and "
            "the best of several looks flatters"
        )


def _parts(choice: Choice) -> Iterator[str]:
    for part, score, kept in _asked(choice):
        turned = score.turned
        yield (
            f"{_kept(kept)} on {part}, {difference_text(turned.difference, 100)}, "
            f"McNemar p {p_value(turned.p_value)}, could have shown {_drop(score)}"
        )


def _drop(score: Score) -> str:
    words = visible(score.turned)
    return words if words.startswith("no ") else f"a drop of {words}"


def _asked(choice: Choice) -> Iterator[tuple[str, Score, bool]]:
    """The parts of the data that were asked about, what they said, whether the limit is kept."""
    if choice.val is not None:
        yield "val", choice.val, choice.met_on_val
    if choice.test is not None:
        yield "test", choice.test, bool(choice.met_on_test)


def _kept(kept: bool) -> str:
    return "kept" if kept else "NOT kept"


def table(choice: Choice) -> str:
    """A line for each part of the data, in the columns of the tables of accuracy."""
    lines = [
        (
            part,
            score.images,
            f"{100 * score.fp32 / score.images:.2f}",
            f"{100 * score.int8 / score.images:.2f}",
            score.lost,
            score.gained,
            p_value(score.turned.p_value),
            difference_text(score.turned.difference, 100),
            visible(score.turned),
            _kept(kept),
        )
        for part, score, kept in _asked(choice)
    ]
    align = ("left", *["right"] * (len(_TITLES) - 1))
    return tabulate(lines, _TITLES, tablefmt="github", disable_numparse=True, colalign=align)


def verdict(choice: Choice) -> str:
    """What came out, in a few lines."""
    lines = [f"{choice.variant}@{choice.weights}: {choice.int8}", outcome(choice), table(choice)]
    if choice.warning:
        lines.append(f"WARNING: {choice.warning}")
    if not choice.met_on_val:
        lines.append(f"this is the best of {choice.tried} candidates")
    return "\n".join([*lines, *_blamed(choice)])


def _blamed(choice: Choice) -> Iterator[str]:
    """The layers that cost most, with what each costs."""
    if choice.blamed:
        yield "to blame, the worst first (1 - cosine with fp32 when this layer alone is in INT8):"
    for layer in choice.blamed:
        kept = "  left in fp32" if layer.name in choice.int8.keep_fp32 else ""
        node = f" ({layer.name})" if layer.layer else ""
        yield f"  {layer.error:.5f}  {layer.shown}{node}{kept}"
