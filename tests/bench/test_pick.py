"""The pick, the runner-up, what constraints cost, and when there is none."""

from __future__ import annotations

from dataclasses import asdict

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench import constraints, pick, recommend_json, recommend_text
from bench import field as fields
from bench.case import Case
from bench.contenders import AXES
from bench.pick import Judged, Recommendation
from bench.record import Run
from tests.bench.made_up import answering, header, measured, thousand_images

BIG = Case("vgg19", "fp32", "ort", 2)
SMALL = Case("vgg19-gap", "int8-static", "ort", 2)
MIDDLE = Case("vgg19", "int8-static", "ort", 2)


def recommended(*blocks, limits: dict[str, str] | None = None, prefer: str = "latency", **changes):
    """What follows from one run of these blocks."""
    run = Run(header(**changes), tuple(blocks))
    asked = [constraints.parse(flag, text) for flag, text in (limits or {}).items()]
    return pick.recommend(fields.field([run]), asked, prefer)


def names(*rows) -> list[str]:
    """Keys of judged rows."""
    return [one.contender.name for one in rows]


def three(**changes) -> tuple:
    """30 ms and 3 MB, 20 ms and 2 MB, 40 ms and 1 MB."""
    return (
        *measured(BIG, 30, 30, 31, size_bytes=3_000_000),
        *measured(MIDDLE, 20, 20, 21, size_bytes=2_000_000),
        *measured(SMALL, 40, 40, 41, size_bytes=1_000_000),
    )


def test_rows_that_keep_all_but_know_no_accuracy_are_told_as_that() -> None:
    """The only row with one is too large: the others keep the limit, and can't be preferred."""
    images = thousand_images()
    known = measured(BIG, 30, 30, 31, size_bytes=3_000_000, answers=answering(images, 100))
    others = measured(SMALL, 40, 40, 41, size_bytes=1_000_000)
    limits = {"--max-size": "2MB"}
    found = recommended(*known, *others, limits=limits, prefer="accuracy", labelled=images)
    text = recommend_text.text(found)
    assert "**Nothing to ship by top-1**: of 1 row that keeps --max-size 2MB none has one" in text
    assert "keeps all but" not in text
    assert found.exit_code == 1


def test_the_best_is_picked_and_the_next_is_the_runner_up() -> None:
    """By what is preferred; the beaten row is on no front, and may still come second."""
    found = recommended(*three())
    assert names(found.pick, found.runner_up) == [str(MIDDLE), str(BIG)]
    assert names(*found.front) == [str(MIDDLE), str(SMALL)]
    assert names(recommended(*three(), prefer="size").pick) == [str(SMALL)]
    assert found.exit_code == 0


def test_no_worse_is_by_the_estimates_and_better_is_proven() -> None:
    """A byte less of memory that nothing proves keeps a slower row from being beaten; where both
    have as much, it is."""
    for peak_bytes, front in ((300_000_000, [str(SMALL)]), (299_999_999, [str(SMALL), str(BIG)])):
        found = recommended(
            *measured(BIG, 20, 20, 21, peak_bytes=peak_bytes),
            *measured(SMALL, 10, 10, 11),
        )
        assert names(*found.front) == front


def test_what_a_constraint_costs_is_the_pick_without_it() -> None:
    """One that changes nothing costs nothing."""
    found = recommended(*three(), limits={"--max-p50": "50ms", "--max-size": "1MB"})
    assert names(found.pick) == [str(SMALL)]
    assert [cost.instead and cost.instead.contender.name for cost in found.costs] == [
        None,
        str(MIDDLE),
    ]


def test_where_nothing_fits_the_nearest_is_the_one_that_misses_fewest_by_least() -> None:
    """1 of 2 missed by a third before 1 missed twofold, and before both."""
    found = recommended(*three(), limits={"--max-p50": "30ms", "--max-size": "1MB"})
    assert (found.pick, found.exit_code) == (None, 1)
    assert found.nearest is not None
    assert names(found.nearest) == [str(SMALL)]
    (missed,) = found.nearest.misses()
    assert missed.constraint.flag == "--max-p50"
    assert missed.excess == pytest.approx(40 / 30)


def test_only_undecided_rows_are_an_outcome_of_their_own() -> None:
    """Two blocks: nothing is known of a limit far above them; one more row that misses is none."""
    blocks = (*measured(BIG, 10, 10), *measured(SMALL, 90, 90, 91))
    found = recommended(*blocks, limits={"--max-p50": "20ms"})
    assert (found.pick, found.exit_code) == (None, 3)
    assert names(*found.open) == [str(BIG)]


def test_an_undecided_row_that_would_be_picked_is_told_beside_the_pick() -> None:
    """And one that would not be is not."""
    blocks = (*measured(BIG, 10, 10), *measured(SMALL, 12, 12, 12), *measured(MIDDLE, 14, 14))
    found = recommended(*blocks, limits={"--max-p50": "20ms"})
    assert names(found.pick, *found.open) == [str(SMALL), str(BIG)]


def test_rows_that_are_not_told_apart_are_ties_with_what_would_tell() -> None:
    """More blocks by their own spread, and the run's command."""
    blocks = (*measured(BIG, 10, 10.4, 10.1), *measured(SMALL, 10.2, 10.1, 10.5))
    found = recommended(*blocks)
    (tie,) = found.ties
    assert tie.other is found.runner_up
    assert "blocks instead of 3" in tie.remedy.text
    assert "-m vgg19,vgg19-gap" in tie.remedy.command
    assert not recommended(*three()).ties


def test_a_tie_in_accuracy_takes_images() -> None:
    """Three of a thousand answers turned, all one way: 2.8² * 0.003 / 0.003² and a little less."""
    labelled = thousand_images()
    blocks = (
        *measured(BIG, 10, 10, 10, answers=answering(labelled, 50)),
        *measured(SMALL, 10, 10, 10, answers=answering(labelled, 53)),
    )
    found = recommended(*blocks, prefer="accuracy", labelled=labelled)
    assert names(found.pick) == [str(BIG)]
    assert found.ties[0].remedy.text.startswith("about 2609 labelled images instead of 1000")


def levelled(command: str = "python -m bench.run", wrong: tuple[int, ...] = ()):
    """A pick, and behind it two that differ in size and hardly in time."""
    labelled = thousand_images() if wrong else None
    times = {BIG: (10, 10, 10.1), MIDDLE: (20, 20.4, 20.1), SMALL: (20.2, 20.1, 20.5)}
    blocks = [
        block
        for place, (case, ms) in enumerate(times.items())
        for block in measured(
            case,
            *ms,
            size_bytes=(3 - place) * 1_000_000,
            answers=answering(labelled, wrong[place]) if labelled else None,
        )
    ]
    return recommended(*blocks, command=command, labelled=labelled)


def test_neighbours_that_are_not_told_apart_are_level() -> None:
    """On the front, whoever they are; those that are told from the pick are no tie with it."""
    found = levelled()
    assert names(*found.front) == [str(BIG), str(MIDDLE), str(SMALL)]
    (pair,) = found.level
    assert names(pair.one, pair.other) == [str(MIDDLE), str(SMALL)]
    assert (found.ties, pair.axis) == ((), "latency")
    assert "blocks instead of 3" in pair.remedy.text
    assert not recommended(*three()).level
    text = recommend_text.text(found)
    (line,) = (line for line in text.splitlines() if "(≈ above)" in line)
    assert line.startswith(f"| `{SMALL}` (≈ above) ")
    assert (
        "≈ above: not told apart from the row above it in p50. Of such pairs the quickest" in text
    )
    assert f"`{MIDDLE}` and `{SMALL}`, by p50: " in text
    assert recommend_json.document(found)["level"] == [
        {
            "rows": names(pair.one, pair.other),
            "axis": "latency",
            "would_decide": asdict(pair.remedy),
        }
    ]


def test_the_cheapest_measuring_that_tells_them_apart_is_named() -> None:
    """By what it takes, of blocks for times and images for answers; a command must be known."""
    asked = "python -m bench.run --data images.zip --accuracy-images 1000"
    (pair,) = levelled(asked, wrong=(50, 50, 53)).level
    assert pair.axis == "accuracy" and "--accuracy-images" in pair.remedy.command
    blocks = pick.to_separate(pair.one.contender, pair.other.contender, "latency")
    assert (pair.remedy.seconds or 0) < (blocks.seconds or 0)
    (pair,) = levelled("python -m bench.run --data images.zip", wrong=(50, 50, 53)).level
    assert pair.axis == "latency" and "--blocks" in pair.remedy.command


def test_of_level_rows_a_tie_with_the_pick_is_told_once() -> None:
    """Its remedy stands with the ties; the next pair's below the table."""
    alike = (20, 20.1, 20.2)
    blocks = [
        block
        for place, case in enumerate((BIG, MIDDLE, SMALL))
        for block in measured(case, *alike, size_bytes=(3 - place) * 1_000_000, load_s=place + 0.1)
    ]
    found = recommended(*blocks)
    assert len(found.ties) == 2
    assert [names(pair.one, pair.other) for pair in found.level] == [names(*found.front[1:])]
    assert "call it a tie" in found.level[0].remedy.text and found.level[0].axis == "latency"
    assert "(tied, ≈ above)" in recommend_text.text(found)


def test_of_equals_one_that_nothing_speaks_against_is_picked() -> None:
    """The same file in a disturbed block and in a quiet one."""
    few = measured(BIG, 10, inferences=3)  # SUSPECT: too few samples
    found = recommended(*few, *measured(SMALL, 10))
    assert names(found.pick) == [str(SMALL)]
    assert found.judged[-1].contender.verdict.level != "VALID"


CASES = (BIG, MIDDLE, SMALL, Case("vgg19-pruned", "fp32", "ort", 2))
FIGURES = st.tuples(
    st.lists(st.floats(5, 15), min_size=1, max_size=4),
    st.integers(1, 4),
    st.integers(1, 4),
    st.sampled_from([0.1, 0.2]),
)
LIMITS = st.dictionaries(
    st.sampled_from(["--max-p50", "--max-p95", "--max-load"]), st.integers(6, 300), max_size=2
)


@settings(deadline=None, max_examples=40, suppress_health_check=list(HealthCheck))
@given(
    st.lists(FIGURES, min_size=1, max_size=4),
    LIMITS,
    st.sampled_from([axis for axis in AXES if axis != "accuracy"]),
)
def test_laws_of_the_pick(figures, limits: dict[str, int], prefer: str) -> None:
    """No row that keeps the constraints beats the pick or costs less; a constraint less never
    costs more; there is a pick, a nearest row, or something open."""
    blocks = [
        block
        for case, (ms, size, peak, load) in zip(CASES, figures, strict=False)
        for block in measured(
            case, *ms, size_bytes=size * 10**6, peak_bytes=peak * 10**8, load_s=load
        )
    ]
    asked = {flag: f"{value}ms" for flag, value in limits.items()}
    found = recommended(*blocks, limits=asked, prefer=prefer)
    assert found.exit_code in (0, 1, 3)
    _check_pick(found, prefer)
    for flag in asked:
        fewer = {other: text for other, text in asked.items() if other != flag}
        looser = recommended(*blocks, limits=fewer, prefer=prefer)
        if found.pick is not None:
            assert looser.pick is not None
            assert _cost(looser.pick, prefer) <= _cost(found.pick, prefer)


def _cost(one: Judged, axis: str) -> float:
    cost = one.contender.costs[axis]
    assert cost is not None
    return cost


def _check_pick(found: Recommendation, prefer: str) -> None:
    kept = [place for place, one in enumerate(found.judged) if not one.misses()]
    if found.pick is None:
        assert not kept
        assert found.nearest is not None and found.nearest.misses()
        return
    own = found.judged.index(found.pick)
    assert not found.above[own].intersection(kept)
    cost = _cost(found.pick, prefer)
    assert all(cost <= _cost(found.judged[place], prefer) for place in kept)
    assert all(not one.misses() for one in found.ranked)
