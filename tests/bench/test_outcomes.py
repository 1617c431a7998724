"""One of five outcomes a row, and an exit code: the rule of METHOD.md, on made-up blocks."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import block as block_of
from bench import compare_text, interchange, outcomes, resultset
from bench.case import AGAIN, BASE, Case
from bench.options import UsageError
from bench.outcomes import Comparison, Outcome
from bench.record import Against, LoadTest, Measurement, Parity, Workers
from bench.resultset import Block, Entry, ResultSet
from bench.validity import Verdict
from tests.bench.made_up import fake_artifact

CASE = Case("vgg19", "fp32", "ort", 2)
INVALID = Verdict("INVALID", ("steal",))
SUSPECT = Verdict("SUSPECT", ("foreign-cpu",))


def entry(medians_s: Sequence[float], verdict: Verdict = resultset.VALID) -> Entry:
    """A row with one block a median."""
    return Entry(tuple(Block(number, s, verdict) for number, s in enumerate(medians_s)))


def noisy(centre_s: float, blocks: int, seed: int, sigma: float = 0.003) -> Entry:
    """Blocks around ``centre_s``, log-normal."""
    noise = random.Random(seed)
    return entry([centre_s * math.exp(noise.gauss(0, sigma)) for _ in range(blocks)])


def result_set(*name: str, **rows: Entry) -> ResultSet:
    """A set of the same host as all others here; ``name``: its source and its commit."""
    source, commit = (*name, *("base", "abc1234")[len(name) :])
    return ResultSet(source, "run-1", "ff00", "schema 2", "seeded", "photographs", rows, commit)


def judged(base: Entry, head: Entry, margin: float = 0.02, **how: bool) -> outcomes.Compared:
    """The only row of two sets."""
    found = outcomes.compare(result_set(row=base), result_set("head", row=head), margin, **how)
    return found.rows[0]


@pytest.mark.parametrize(
    ("ratio", "outcome", "code"),
    [
        (1.2, "regressed", 1),
        (0.8, "improved", 0),
        (1.0, "equivalent", 0),
        (1.02, "inconclusive", 3),
        (1 / 1.02, "inconclusive", 3),
    ],
)
def test_the_interval_decides(ratio: float, outcome: Outcome, code: int) -> None:
    """Wholly above 1 + m, wholly below 1 / (1 + m), wholly between, or across a bound."""
    base, head = noisy(0.1, 8, 1), noisy(0.1 * ratio, 8, 2)
    found = outcomes.compare(result_set(row=base), result_set("head", row=head), 0.02)
    assert (found.rows[0].outcome, found.exit_code) == (outcome, code)


BLOCKS = st.lists(st.floats(0.5, 2.0), min_size=3, max_size=8)


@given(st.lists(st.tuples(BLOCKS, BLOCKS), min_size=1, max_size=5), st.floats(0, 0.5))
def test_what_is_printed_and_what_is_claimed_agree(rows, margin) -> None:
    """The interval as text lies where the outcome says, whatever the digits."""
    base = result_set(**{f"row{i}": entry(before) for i, (before, _) in enumerate(rows)})
    head = result_set("head", **{f"row{i}": entry(after) for i, (_, after) in enumerate(rows)})
    for row in outcomes.compare(base, head, margin).rows:
        text = compare_text.interval(row, margin).partition(" (")[0]
        low, high = map(float, text.split("–"))
        above, below = low > 1 + margin, high < 1 / (1 + margin)
        within = low > 1 / (1 + margin) and high < 1 + margin
        told = {"regressed": above, "improved": below, "equivalent": within}
        assert told.get(row.outcome, not (above or below or within)), text


def test_rounds_pair_only_within_one_run() -> None:
    """A drift that hit both sides alike in each round is taken out; across runs it can't be."""
    base, head = entry([0.1, 0.13, 0.17, 0.22]), entry([0.11, 0.1431, 0.187, 0.2418])
    assert judged(base, head, paired=True).outcome == "regressed"
    assert judged(base, head).outcome == "inconclusive"


def test_paired_blocks_of_another_hour_are_told() -> None:
    """One side measured again by a later start: the outcome stands, with what is doubtful."""
    early, late = "2026-01-02T10:00:00+00:00", "2026-01-02T11:00:01+00:00"
    base, head = (
        replace(side, blocks=tuple(replace(b, started=early) for b in side.blocks))
        for side in (entry([0.1, 0.101, 0.1]), entry([0.2, 0.2, 0.201]))
    )
    again = replace(head.blocks[1], started=late)
    mixed = replace(head, blocks=(head.blocks[0], again, head.blocks[2]))
    assert judged(base, head, paired=True).reason == ""
    found = judged(base, mixed, paired=True)
    told = "BASE and HEAD of round 2 were begun more than 1 hour apart"
    assert (found.outcome, found.reason) == ("regressed", told)
    assert judged(base, mixed).reason == ""  # not paired: two runs are of two times anyway


def test_more_rows_need_more_proof() -> None:
    """What is decided alone need not be decided among twenty: together they err with 5 %."""
    base, head = entry([1, 1.01, 0.99]), entry([1.2, 1.25, 1.22])
    assert judged(base, head).outcome == "regressed"
    same = entry([1, 1.3, 0.7])
    rows = {f"row{i}": same for i in range(300)}
    found = outcomes.compare(result_set(r=base, **rows), result_set("head", r=head, **rows), 0.02)
    assert {row.outcome for row in found.rows} == {"inconclusive"}
    assert {round(row.confidence, 6) for row in found.rows} == {round(1 - 0.05 / 301, 6)}


def test_every_look_has_its_share() -> None:
    """Rows that are judged four times before a run ends are judged at a quarter of the error."""
    base, head = result_set(row=noisy(1, 5, 1)), result_set("head", row=noisy(1.5, 5, 2))
    found = outcomes.compare(base, head, 0.02, looks=4)
    assert found.rows[0].confidence == pytest.approx(1 - 0.05 / 4)
    assert "1 row and 4 looks" in compare_text.tables(found)


@pytest.mark.parametrize(
    ("head", "reason"),
    [
        (None, "HEAD: there is no such row"),
        (Entry(reason="failed: killed by SIGKILL"), "HEAD: failed: killed by SIGKILL"),
        (entry([1, 1, 1], INVALID), "HEAD: all 3 blocks are INVALID (steal)"),
        (
            replace(entry([1, 1, 1]), right=False),
            "HEAD: its answers are wrong (parity failed), those of BASE are right",
        ),
    ],
)
def test_a_row_without_a_valid_counterpart_is_exit_code_4(head: Entry | None, reason: str) -> None:
    """A deleted case, one that failed, one that proves nothing, one that is fast and wrong."""
    base = replace(entry([1, 1, 1]), right=True)
    rows = {"row": head} if head else {}
    found = outcomes.compare(result_set(row=base), result_set("head", **rows), 0.02)
    assert found.exit_code == 4
    assert (found.rows[0].outcome, found.rows[0].reason) == ("nothing valid measured", reason)


def test_too_few_blocks_are_inconclusive() -> None:
    """Two blocks, or two rounds that both have, give no interval; it says how many it takes."""
    three, two = entry([1, 1.1, 1.2]), entry([1, 1.1])
    assert judged(three, two).outcome == "inconclusive"
    assert judged(three, two).reason == (
        "3 valid blocks in BASE, 2 in HEAD: an interval takes 3 of each"
    )
    lost = Entry((*two.blocks, Block(2, 1.0, INVALID)))
    assert judged(three, lost, paired=True).reason == (
        "valid on both sides in 2 of the rounds: an interval takes 3"
    )


def test_invalid_blocks_do_not_count_and_suspect_ones_are_marked() -> None:
    """One disturbed block of four changes nothing but the mark."""
    base = noisy(1, 4, 1)
    head = Entry((*noisy(1.5, 4, 2).blocks, Block(4, 99.0, INVALID), Block(5, 1.5, SUSPECT)))
    row = judged(base, head)
    assert (row.outcome, row.verdict) == ("regressed", SUSPECT)


def test_what_base_could_not_run_and_what_is_new_is_no_row() -> None:
    """Neither costs anything; both are named."""
    base = result_set(row=noisy(1, 5, 1), tract=Entry(reason="no kernel", unsupported=True))
    head = result_set("head", row=noisy(1, 5, 2), fresh=noisy(1, 5, 3))
    found = outcomes.compare(base, head, 0.02)
    assert (found.exit_code, found.unsupported, found.new) == (0, ("tract",), ("fresh",))
    text = compare_text.tables(found)
    assert "Only in HEAD, not compared: `fresh`." in text
    assert "Unsupported in BASE, not compared: `tract`." in text


@pytest.mark.parametrize(
    ("field", "value", "part"),
    [
        ("host_id", "0bad", "host ff00 and 0bad"),
        ("schema", "schema 1", "schema schema 2 and schema 1"),
        ("weights", "plants40", "weights seeded and plants40"),
        ("data", "roses.zip", "images photographs and roses.zip"),
    ],
)
def test_what_must_be_the_same_is_refused_in_a_sentence(field, value, part) -> None:
    """It names both sides and what differs."""
    base = result_set(row=noisy(1, 3, 1))
    head = replace(base, source="head", **{field: value})
    with pytest.raises(UsageError) as caught:
        outcomes.compare(base, head, 0.02)
    assert str(caught.value) == (
        "BASE base (run-1) and HEAD head (run-1) can't be compared, because they differ in what "
        f"has to be the same: {part}"
    )


@pytest.mark.parametrize(
    ("names", "more"),
    [
        (["a"], ""),
        (["a", "b"], " (and that of 1 more row)"),
        (["a", "b", "c"], " (and that of 2 more rows)"),
    ],
)
def test_rows_of_other_inputs_are_refused_in_a_sentence(names: list[str], more: str) -> None:
    """It names the first of them with both ways to make an input."""
    small, large = (
        {name: replace(noisy(1, 3, 1), preprocess=f'{{"size": {size}}}') for name in names}
        for size in ([32, 32], [64, 64])
    )
    with pytest.raises(UsageError) as caught:
        outcomes.compare(result_set(**small), result_set("head", **large), 0.02)
    assert str(caught.value).endswith(
        'what has to be the same: the preprocessing of a, {"size": [32, 32]} and '
        f'{{"size": [64, 64]}}{more}'
    )


def test_records_that_do_not_say_how_inputs_were_made_are_compared() -> None:
    """As before: nobody recorded it then."""
    told = replace(noisy(1, 5, 1), preprocess="{}")
    for base, head in ((told, noisy(1, 5, 2)), (noisy(1, 5, 2), told), (told, told)):
        assert judged(base, head).ratio is not None


def test_a_base_without_rows_is_refused() -> None:
    """Nothing would be gated."""
    with pytest.raises(UsageError, match="no row that could be measured"):
        outcomes.compare(result_set(), result_set("head"), 0.02)


@pytest.mark.parametrize(
    ("found", "code"),
    [
        (["regressed", "nothing valid measured", "inconclusive"], 1),
        (["improved", "nothing valid measured", "inconclusive"], 4),
        (["improved", "inconclusive"], 3),
        (["improved", "equivalent"], 0),
    ],
)
def test_the_first_outcome_that_applies_is_the_exit_code(found: list[Outcome], code: int) -> None:
    """1 before 4 before 3 before 0."""
    rows = tuple(outcomes.Compared(str(i), outcome) for i, outcome in enumerate(found))
    assert Comparison(result_set(), result_set(), 0.02, False, rows).exit_code == code


# --- from records


def block(case: Case, number: int = 0, ms: float = 50.0, **changes) -> Measurement:
    """An undisturbed block of ten inferences."""
    latencies = (round(ms * 1e6),) * 10
    plain = Measurement(case, number, "ok", latencies_ns=latencies, warmup_settled=True)
    return replace(plain, **changes)


def test_a_run_holds_both_sides_where_it_was_measured_against_a_base(run_of) -> None:
    """Base cases are looked up under the names of the others; A/A pairs and null are no rows."""
    base, again = replace(CASE, copy=BASE), replace(CASE, copy=AGAIN)
    null = replace(CASE, runtime="null")
    blocks = [
        block(case, number, ms)
        for number in range(5)
        for case, ms in ((CASE, 60 + number / 100), (base, 50), (again, 60), (null, 1))
    ]
    run = run_of(*blocks, against=Against("origin/main", "def5678"))
    found = outcomes.compare_run(run, 0.02)
    assert [(row.name, row.outcome) for row in found.rows] == [(str(CASE), "regressed")]
    assert (found.paired, found.base.commit, found.head.commit) == (True, "def5678", "abc1234")


def test_a_run_beside_itself_is_refused(run_of) -> None:
    """Without --against there is nothing to compare in it."""
    with pytest.raises(UsageError, match="are the same run, default-1"):
        outcomes.compare_run(run_of(block(CASE)), 0.02)


def test_what_counts_of_a_case_is_read_from_its_blocks(run_of) -> None:
    """Failed, unsupported, planned but not measured, wrong, per image, by a load test."""
    batch = replace(CASE, batch_size=4)
    multi, offline, together, server = (
        replace(CASE, scenario=name) for name in ("multi", "offline", "workers", "server")
    )
    single, p90 = replace(CASE, variant="vgg19-gap"), LoadTest("latency_p90_s", 0.25, False)
    wrong = Parity(1.0, 0.0, 0.0, 16, passed=False)
    cases = [replace(CASE, threads=n) for n in range(1, 5)]
    run = run_of(
        Measurement(cases[0], 0, "failed", "killed by SIGSEGV"),
        Measurement(cases[1], 0, "unsupported", "no kernel"),
        block(cases[2], parity=wrong),
        block(batch, ms=80),
        block(multi, load_test=LoadTest("query_latency_p99_s", 0.25, True)),
        block(offline, load_test=LoadTest("images_per_s", 50.0, False)),
        block(together, workers=Workers(2, 80.0, 1.0)),
        block(server, load_test=LoadTest("queries_per_s", 50.0, True)),
        block(single, ms=20, load_test=p90),
        cases=(cases[3],),
    )
    found = resultset.of_run(run, "here").entries
    assert found[str(cases[0])] == Entry(reason="failed: killed by SIGSEGV")
    assert found[str(cases[1])].unsupported
    assert found[str(cases[2])].right is False
    assert found[str(cases[3])] == Entry(reason="not measured yet")
    assert [b.median_s for b in found[str(batch)].blocks] == [0.02]
    assert [b.median_s for b in found[str(multi)].blocks] == [0.25]
    assert [b.median_s for b in found[str(together)].blocks] == [1 / 80]
    assert str(server) not in found  # one search has no interval
    assert found[str(single)].blocks == (Block(0, 0.02),)  # our loop's, whatever LoadGen says
    (only,) = found[str(offline)].blocks
    assert (only.median_s, only.verdict.level) == (0.02, "INVALID")


def test_a_row_knows_how_its_inputs_were_made(run_of, tmp_path) -> None:
    """By the artifact of its newest block, in our own records and in pytest-benchmark's form."""
    made = block_of.file_facts(replace(fake_artifact(tmp_path), preprocess="{}"))
    run = run_of(block(CASE, file=made), block(CASE, 1, status="failed", latencies_ns=()))
    assert resultset.of_run(run, "here").entries[str(CASE)].preprocess == "{}"
    saved = interchange.write(run, tmp_path / "saved.json")
    assert interchange.read(saved).entries[str(CASE)].preprocess == "{}"


# --- as text


def sample() -> Comparison:
    """Seeded noise around six true ratios, and a row that is gone."""
    ratios = {"slower": 1.25, "faster": 0.5, "same": 1.0, "close": 1.02}
    base = {name: noisy(0.05, 8, seed) for seed, name in enumerate(ratios)}
    head = {name: noisy(0.05 * r, 8, 10 + n) for n, (name, r) in enumerate(ratios.items())}
    doubtful = Entry((*head["slower"].blocks, Block(8, 0.0625, SUSPECT)))
    before = result_set("main", gone=noisy(0.05, 8, 9), **base)
    after = result_set("results", "fed4321", **head | {"slower": doubtful})
    return outcomes.compare(
        replace(before, versions={"onnxruntime": "1.24.0"}),
        replace(after, versions={"onnxruntime": "1.25.0"}),
        0.02,
    )


HEADLINE = (
    "**1 regressed, 1 nothing valid measured, 1 inconclusive, 1 improved, 1 equivalent**: "
    "5 rows of HEAD (`results`, commit fed4321) against BASE (`main`, commit abc1234), margin 2 %."
)
TABLE = """\
| row      |   base ms |   head ms |   head/base |                interval | outcome                          |
|----------|-----------|-----------|-------------|-------------------------|----------------------------------|
| `slower` |     49.95 |     62.41 |       1.249 |   1.246–1.253 (98.75 %) | regressed (SUSPECT: foreign-cpu) |
| `gone`   |         – |         – |           – |                       – | nothing valid measured           |
| `close`  |     50.06 |     51.02 |       1.019 |   1.015–1.023 (97.50 %) | inconclusive                     |
| `faster` |     49.97 |     25.00 |      0.5002 | 0.4980–0.5025 (99.00 %) | improved                         |
| `same`   |     50.01 |     50.01 |       1.000 |   0.996–1.004 (98.33 %) | equivalent                       |

- HEAD: there is no such row: `gone`"""  # noqa: E501
CHANGED = """\
| row      |   base ms |   head ms |   head/base |                interval | outcome                          |
|----------|-----------|-----------|-------------|-------------------------|----------------------------------|
| `slower` |     49.95 |     62.41 |       1.249 |   1.246–1.253 (98.75 %) | regressed (SUSPECT: foreign-cpu) |
| `gone`   |         – |         – |           – |                       – | nothing valid measured           |
| `faster` |     49.97 |     25.00 |      0.5002 | 0.4980–0.5025 (99.00 %) | improved                         |

- HEAD: there is no such row: `gone`"""  # noqa: E501
FOLDED = """\
<details><summary>2 rows without a proven change</summary>

| row     |   base ms |   head ms |   head/base |              interval | outcome      |
|---------|-----------|-----------|-------------|-----------------------|--------------|
| `close` |     50.06 |     51.02 |       1.019 | 1.015–1.023 (97.50 %) | inconclusive |
| `same`  |     50.01 |     50.01 |       1.000 | 0.996–1.004 (98.33 %) | equivalent   |

</details>"""
BASIS = (
    "Ratios of block medians for an image (of what a scenario measures, where one is named), "
    "the blocks of both sides by Welch's t. The outcomes hold together: over 5 rows they err with "
    "at most 5 % (Holm); each interval has the level at which its row was decided.\n"
    "Libraries that differ: onnxruntime 1.24.0 → 1.25.0."
)


def test_the_table_is_this() -> None:
    """The whole text for seeded blocks: verdict, rows, reasons, what it rests on."""
    assert compare_text.tables(sample()) == "\n\n".join([HEADLINE, TABLE, BASIS])


def test_the_comment_shows_what_changed_and_folds_the_rest() -> None:
    """Verdict first; GitHub needs the empty lines inside of <details>."""
    assert compare_text.comment(sample()) == "\n\n".join([HEADLINE, CHANGED, FOLDED, BASIS])


def test_a_bar_in_a_name_does_not_end_its_cell() -> None:
    """pytest names a parameter as it likes."""
    rows = {"a|b": noisy(1, 3, 1)}
    found = outcomes.compare(result_set(**rows), result_set(**rows), 0.02)
    assert "| `a\\|b` |" in compare_text.tables(found)
