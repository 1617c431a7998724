"""Accuracy: scikit-learn's averages, exact intervals, paired tests, held to what they promise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.stats import binom, binomtest, multinomial

from bench import scores, turned
from bench.record import Answers, Labelled, RecordError

CLASSES = 5


def labelled(*labels: int, classes: int = CLASSES) -> Labelled:
    """Images of these classes."""
    return Labelled("plants", "test", "f00d", tuple("abcdefgh"[:classes]), labels)


def answers(truth, predicted, indices=()) -> Answers:
    """Answers with ranks that don't contradict them."""
    ranks = tuple(0 if a == b else 1 for a, b in zip(truth, predicted, strict=True))
    return Answers(tuple(predicted), ranks, tuple(indices))


def entries(truth, predicted) -> scores.Scored:
    """The same, beside the truth."""
    return scores.scored(labelled(*truth), answers(truth, predicted))


PAIRS = st.lists(st.tuples(*[st.integers(0, CLASSES - 1)] * 2), min_size=1, max_size=60)


@given(PAIRS)
def test_by_class_is_scikit_learns(pairs) -> None:
    """Precision, recall, F1, support and both averages: bit for bit, classes of nobody left out."""
    metrics = pytest.importorskip("sklearn.metrics")
    truth, predicted = zip(*pairs, strict=True)
    found = scores.by_class(scores.confusion(entries(truth, predicted), CLASSES))
    theirs = metrics.precision_recall_fscore_support(truth, predicted, zero_division=0)
    for ours, other in zip(
        (found.precision, found.recall, found.f1, found.support), theirs, strict=True
    ):
        np.testing.assert_array_equal(ours, other)
    for average, own in (("macro", found.macro), ("weighted", found.weighted)):
        other = metrics.precision_recall_fscore_support(
            truth, predicted, average=average, zero_division=0
        )
        assert (own.precision, own.recall, own.f1) == other[:3]


def test_by_class_is_the_classification_report() -> None:
    """The report that people know has the same numbers, the accuracy among them."""
    metrics = pytest.importorskip("sklearn.metrics")
    truth, predicted = [0, 0, 1, 2, 2, 2, 4], [0, 1, 1, 2, 2, 0, 3]
    found = scores.by_class(scores.confusion(entries(truth, predicted), CLASSES))
    report = metrics.classification_report(truth, predicted, output_dict=True, zero_division=0)
    assert [report[str(name)]["f1-score"] for name in found.classes] == found.f1.tolist()
    assert report["macro avg"]["f1-score"] == found.macro.f1
    assert report["weighted avg"]["precision"] == found.weighted.precision
    assert report["accuracy"] == pytest.approx(found.weighted.recall)


def test_top_k_counts_ranks() -> None:
    """A true class with two others ahead of it is among the first three."""
    found = scores.scored(labelled(0, 1, 2, 3), Answers((0, 0, 0, 0), (0, 1, 2, 3)))
    assert [scores.top(found, k).value for k in (1, 2, 3, 4)] == [0.25, 0.5, 0.75, 1.0]


@given(st.integers(1, 60), st.data())
def test_interval_of_a_share_is_scipys_exact_one(images, data) -> None:
    """Clopper and Pearson's, at both ends too."""
    right = data.draw(st.integers(0, images))
    found = scores.share_interval(right, images)
    theirs = binomtest(right, images).proportion_ci(method="exact")
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high), abs=1e-9)


def test_interval_of_a_share_misses_with_at_most_five_percent() -> None:
    """Whatever the true share: the chance of every count whose interval holds it, summed."""
    images = 40
    found = [scores.share_interval(right, images) for right in range(images + 1)]
    for share in np.linspace(0.005, 0.995, 199):
        holds = [not one.excludes(share) for one in found]
        assert binom.pmf(range(images + 1), images, share)[holds].sum() >= 0.95


@given(st.integers(0, 300), st.integers(0, 300))
def test_mcnemar_is_a_binomial_test(lost, won) -> None:
    """Of the images that only one has right, half would be lost by chance."""
    theirs = binomtest(lost, lost + won, 0.5).pvalue if lost + won else 1.0
    assert turned.mcnemar(lost, won) == pytest.approx(theirs)


def test_paired_counts_both_ways() -> None:
    """Lost, won and the same class, right or wrong, over the images that both answered."""
    truth = (0, 1, 2, 3, 4, 0)
    parent = scores.scored(labelled(*truth), answers(truth, (0, 1, 2, 0, 0, 1)))
    some = answers(truth[1:], (1, 0, 3, 0, 2), range(1, 6))
    found = scores.paired(parent, scores.scored(labelled(*truth), some))
    assert found == scores.Paired(images=5, lost=1, won=1, same=2)
    assert (found.agreement, found.difference.value, found.p_value) == (0.4, 0.0, 1.0)


def test_without_common_images_there_is_nothing_to_compare() -> None:
    """Two samples that do not overlap."""
    one = scores.scored(labelled(0, 1), Answers((0,), (0,), (0,)))
    other = scores.scored(labelled(0, 1), Answers((1,), (0,), (1,)))
    assert scores.paired(one, other) is None


def likelihood_score(won: int, lost: int, images: int, difference: float) -> float:
    """Tango's statistic, its nuisance parameter found by a general optimiser."""
    rest = images - won - lost

    def unlikely(share: float) -> float:
        cells = np.array([share + difference, share, 1 - 2 * share - difference])
        return -float(np.array([won, lost, rest]) @ np.log(np.maximum(cells, 1e-300)))

    bounds = (max(0.0, -difference), (1 - difference) / 2)
    share = minimize_scalar(unlikely, bounds=bounds, method="bounded", options={"xatol": 1e-11}).x
    variance = images * (2 * share + difference * (1 - difference))
    return float((won - lost - images * difference) / variance**0.5)


@pytest.mark.parametrize(("won", "lost", "images"), [(9, 21, 90), (3, 1, 40), (7, 25, 800)])
def test_paired_interval_ends_where_a_score_test_rejects(won, lost, images) -> None:
    """At both ends the statistic is 1.96, found without the closed form."""
    low, high = turned.paired_interval(won, lost, images)
    assert likelihood_score(won, lost, images, low) == pytest.approx(1.959964, abs=1e-4)
    assert likelihood_score(won, lost, images, high) == pytest.approx(-1.959964, abs=1e-4)


@given(st.integers(0, 30), st.integers(0, 30), st.integers(1, 60))
def test_paired_interval_is_symmetric_and_holds_its_value(won, lost, more) -> None:
    """Exchanging the rows turns it around; it never leaves -1 to 1, nor is it ever a point."""
    images = won + lost + more
    low, high = turned.paired_interval(won, lost, images)
    assert turned.paired_interval(lost, won, images) == pytest.approx((-high, -low))
    assert -1 <= low < (won - lost) / images < high <= 1


@pytest.mark.parametrize("shares", [(0.05, 0.05), (0.02, 0.1), (0.1, 0.1), (0.2, 0.3), (0.3, 0.05)])
def test_paired_interval_covers(shares) -> None:
    """The true difference lies in it in 93 to 98 % of all tables, counted exactly."""
    images = 50
    tables = [(w, lost) for w in range(images + 1) for lost in range(images + 1 - w)]
    ends = np.array([turned.paired_interval(w, lost, images) for w, lost in tables])
    cells = [(w, lost, images - w - lost) for w, lost in tables]
    chance = multinomial.pmf(cells, images, [*shares, 1 - sum(shares)])
    difference = shares[0] - shares[1]
    holds = (ends[:, 0] <= difference + 1e-9) & (difference - 1e-9 <= ends[:, 1])
    assert 0.93 <= chance[holds].sum() <= 0.98


@pytest.mark.parametrize(("images", "discordant"), [(400, 40), (400, 0), (2000, 100)])
def test_a_visible_drop_is_seen_in_eighty_percent(images, discordant) -> None:
    """Simulated: a drop of that size makes McNemar's test significant as often as was said."""
    drop = turned.visible_drop(images, discordant)
    assert drop is not None
    share = max(discordant / images, drop)
    cells = [(share + drop) / 2, (share - drop) / 2, 1 - share]
    drawn = np.random.default_rng(0).multinomial(images, cells, 20_000)
    seen = [turned.mcnemar(lost, won) <= 0.05 and lost > won for lost, won, _ in drawn]
    # Three standard deviations of the simulation are 0.0085.
    assert np.mean(seen) == pytest.approx(0.8, abs=0.01)


@given(st.integers(1, 200), st.data())
@settings(deadline=None)
def test_a_visible_drop_is_a_share(images, data) -> None:
    """More images show smaller drops; five can show none, since 5 of 5 may be chance."""
    discordant = data.draw(st.integers(0, images))
    drop = turned.visible_drop(images, discordant)
    if drop is None:
        assert images < 6
    else:
        assert 0 < drop <= 1
        finer = turned.visible_drop(4 * images, 4 * discordant)
        assert finer is not None
        assert finer <= drop


def test_weighted_differences_cover() -> None:
    """The jackknife's interval of a difference of averages holds the truth as often as said."""
    chance = np.random.default_rng(1)
    truth = chance.integers(CLASSES, size=200_000)

    def answered(right: float, odd: float) -> np.ndarray:
        """Right that often, else the next class, or any."""
        other = np.where(chance.random(truth.size) < odd, 0, (truth + 1) % CLASSES)
        return np.where(chance.random(truth.size) < right, truth, other)

    parent, row = answered(0.9, 0.2), answered(0.86, 0.7)

    def both(part: np.ndarray) -> tuple[scores.Scored, scores.Scored]:
        ranks = [(truth[part] != named[part]).astype(int) for named in (parent, row)]
        return (
            scores.Scored(part, truth[part], parent[part], ranks[0]),
            scores.Scored(part, truth[part], row[part], ranks[1]),
        )

    true = [one.value for one in scores.weighted_differences(*both(np.arange(truth.size)), CLASSES)]
    held = np.zeros(3)
    for start in range(0, truth.size, 500):
        found = scores.weighted_differences(*both(np.arange(start, start + 500)), CLASSES)
        held += [not one.excludes(value) for one, value in zip(found, true, strict=True)]
    assert (held / 400 >= 0.92).all()
    assert (held / 400 <= 0.98).all()


def test_weighted_recall_is_the_accuracy() -> None:
    """Its difference is the paired one, whatever the classes."""
    truth = (0, 1, 2, 3, 4, 0, 1)
    parent, row = entries(truth, (0, 1, 2, 0, 0, 1, 1)), entries(truth, (0, 1, 0, 3, 4, 0, 0))
    recall = scores.weighted_differences(parent, row, CLASSES)[1]
    paired = scores.paired(parent, row)
    assert paired is not None
    assert recall.value == pytest.approx(paired.difference.value)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (Answers((0,), (0,)), "2 images of plants test have 1 answers and 1 ranks"),
        (Answers((0, 7), (0, 1)), "class 7 of plants test does not exist: there are 5"),
        (Answers((0,), (0,), (2,)), "image 2 of plants test does not exist: there are 2"),
        (Answers((0, 1), (0, 1)), "image 1 of plants test: its rank contradicts"),
    ],
)
def test_answers_that_cannot_be_are_a_sentence(found, said) -> None:
    """A damaged record does not become a table."""
    with pytest.raises(RecordError, match=said):
        scores.scored(labelled(0, 1), found)


@pytest.mark.parametrize(("right", "images"), [(0, 0), (3, 2), (-1, 4)])
def test_a_share_of_nothing_is_an_error(right, images) -> None:
    """It has no interval."""
    with pytest.raises(ValueError, match="is no share"):
        scores.share_interval(right, images)
