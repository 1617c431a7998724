"""Labels and answers -> what may be said of them: each rule of accuracy written once.

Pure functions over numpy and ``scipy.special``. Precision, recall and F1 are those of
scikit-learn with ``zero_division=0``. An accuracy has the exact binomial interval of Clopper and
Pearson (Biometrika 26, 1934, 404-413), which misses with at most 2.5 % on either side. Two rows
are compared image by image: the exact test of McNemar (Psychometrika 12, 1947, 153-157) over the
images that only one of them has right, and the score interval of the difference of two paired
proportions by Tango (Statistics in Medicine 17, 1998, 891-908). The measuring child never
imports this.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np
import numpy.typing as npt
from scipy.special import bdtr, betaincinv, ndtri

from bench.record import Answers, Labelled, RecordError
from bench.stats import CONFIDENCE, FAMILY_ERROR, Estimate

POWER = 0.8
"""How likely a drop must be to be seen before we say that it could have been."""
_NEGLIGIBLE_SD = 9
"""Standard deviations beyond which a binomial count is left out of a sum."""
_DROP_STEPS = 24
"""Halvings in the search for the smallest drop: to a ten-thousandth of a point."""

Counts = npt.NDArray[np.int64]
Shares = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Scored:
    """Answers beside the truth, an entry an image.

    ``images`` are positions in ``Labelled.labels``, ascending; ``truth`` and ``predicted``
    classes; ``ranks`` how many classes are ahead of the true one.
    """

    images: Counts
    truth: Counts
    predicted: Counts
    ranks: Counts

    def __len__(self) -> int:
        return len(self.images)

    def only(self, places: Counts) -> Scored:
        """The entries at ``places``."""
        return Scored(
            self.images[places], self.truth[places], self.predicted[places], self.ranks[places]
        )


def scored(labelled: Labelled, answers: Answers) -> Scored:
    """Answers beside the labels that they belong to.

    Raises ``RecordError`` where there are more or fewer of them than of images, where an
    image or a class does not exist, and where a rank contradicts the predicted class.
    """
    labels = np.asarray(labelled.labels, dtype=np.int64)
    asked = answers.indices or tuple(range(len(labels)))
    images, predicted, ranks = (
        np.asarray(values, dtype=np.int64) for values in (asked, answers.predicted, answers.ranks)
    )
    where = f"{labelled.data} {labelled.split}".strip()
    if not len(images) == len(predicted) == len(ranks):
        raise RecordError(
            f"{len(images)} images of {where} have {len(predicted)} answers and {len(ranks)} ranks"
        )
    _check_range("image", images, len(labels), where)
    _check_range("class", predicted, len(labelled.class_names), where)
    order = np.argsort(images, kind="stable")
    found = Scored(images, labels[images], predicted, ranks).only(order)
    wrong = (found.ranks == 0) != (found.predicted == found.truth)
    if wrong.any():
        image = int(found.images[wrong][0])
        raise RecordError(f"image {image} of {where}: its rank contradicts its predicted class")
    return found


def _check_range(what: str, values: Counts, count: int, where: str) -> None:
    outside = values[(values < 0) | (values >= count)]
    if outside.size:
        raise RecordError(f"{what} {outside[0]} of {where} does not exist: there are {count}")


def common(one: Scored, other: Scored) -> tuple[Scored, Scored]:
    """The entries of the images that both answered, in the same order."""
    _, first, second = np.intersect1d(one.images, other.images, return_indices=True)
    return one.only(first), other.only(second)


# --- one row


def share_interval(right: int, images: int, confidence: float = CONFIDENCE) -> Estimate:
    """The share ``right / images`` with its exact interval (Clopper and Pearson 1934).

    Raises ``ValueError`` where there are no images.
    """
    if not 0 <= right <= images or images == 0:
        raise ValueError(f"{right} of {images} is no share")
    tail = (1 - confidence) / 2
    low = float(betaincinv(right, images - right + 1, tail)) if right > 0 else 0.0
    high = float(betaincinv(right + 1, images - right, 1 - tail)) if right < images else 1.0
    return Estimate(right / images, low, high)


def top(found: Scored, k: int) -> Estimate:
    """How often the true class is among the first ``k``."""
    return share_interval(int(np.sum(found.ranks < k)), len(found))


def confusion(found: Scored, classes: int) -> Counts:
    """Counts of shape (classes, classes): row the true class, column the predicted one."""
    cells = found.truth * classes + found.predicted
    return np.bincount(cells, minlength=classes * classes).reshape(classes, classes)


@dataclass(frozen=True)
class Averages:
    """Precision, recall and F1 over all classes."""

    precision: float
    recall: float
    f1: float


@dataclass(frozen=True, eq=False)
class ByClass:
    """Precision, recall, F1 and number of images of each of ``classes``.

    As scikit-learn has it, those are the classes that occur, in truth or in answers.
    """

    classes: Counts
    precision: Shares
    recall: Shares
    f1: Shares
    support: Counts

    @property
    def macro(self) -> Averages:
        """Every class counts the same."""
        return Averages(*(float(np.average(values)) for values in self._values))

    @property
    def weighted(self) -> Averages:
        """Every class counts by its images; this recall is the accuracy."""
        return Averages(
            *(float(np.average(values, weights=self.support)) for values in self._values)
        )

    @property
    def _values(self) -> tuple[Shares, Shares, Shares]:
        return self.precision, self.recall, self.f1


def by_class(counts: Counts) -> ByClass:
    """What follows for each class from a confusion matrix; a share of nothing is 0."""
    support, answered, right = counts.sum(axis=1), counts.sum(axis=0), np.diagonal(counts)
    seen = np.flatnonzero(support + answered)
    support, answered, right = support[seen], answered[seen], right[seen]
    return ByClass(
        seen,
        precision=_ratio(right, answered),
        recall=_ratio(right, support),
        f1=_ratio(2 * right, support + answered),
        support=support,
    )


def _ratio(part: Counts, whole: Counts) -> Shares:
    return np.divide(part, whole, out=np.zeros(len(part)), where=whole > 0)


# --- two rows on the same images


@dataclass(frozen=True)
class Turned:
    """How many of the same images a row and its parent differ in.

    ``lost`` are those that the parent has right and the row wrong, ``won`` the other way
    round.
    """

    images: int
    lost: int
    won: int

    @property
    def difference(self) -> Estimate:
        """Accuracy of the row less that of its parent, with Tango's score interval."""
        return Estimate(
            (self.won - self.lost) / self.images,
            *paired_interval(self.won, self.lost, self.images),
        )

    @property
    def p_value(self) -> float:
        """Of McNemar's exact test, two-sided."""
        return mcnemar(self.lost, self.won)

    @property
    def visible_drop(self) -> float | None:
        """The smallest drop that these images could have shown; see ``visible_drop``."""
        return visible_drop(self.images, self.lost + self.won)


@dataclass(frozen=True)
class Paired(Turned):
    """A row beside its parent; both name the same class, right or wrong, for ``same`` images."""

    same: int

    @property
    def agreement(self) -> float:
        """The share of images for which both name the same class."""
        return self.same / self.images


def paired(parent: Scored, row: Scored) -> Paired | None:
    """The two on the images that both answered; ``None``: there are none."""
    theirs, ours = common(parent, row)
    if not len(ours):
        return None
    was, is_now = theirs.ranks == 0, ours.ranks == 0
    return Paired(
        images=len(ours),
        lost=int(np.sum(was & ~is_now)),
        won=int(np.sum(~was & is_now)),
        same=int(np.sum(theirs.predicted == ours.predicted)),
    )


def mcnemar(lost: int, won: int) -> float:
    """Two-sided p-value of McNemar's exact test: of ``lost + won`` fair tosses.

    Equals ``scipy.stats.binomtest(lost, lost + won, 0.5)``.
    """
    return min(1.0, 2 * float(bdtr(min(lost, won), lost + won, 0.5)))


def paired_interval(
    won: int, lost: int, images: int, confidence: float = CONFIDENCE
) -> tuple[float, float]:
    """Interval of ``(won - lost) / images`` (Tango 1998): all differences that a score test keeps.

    It needs no correction where nothing, or everything, was lost; among the intervals
    for paired proportions it is one of the two that Fagerland, Lydersen and Laake
    recommend (Statistics in Medicine 33, 2014, 2850-2875).
    """
    critical = float(ndtri((1 + confidence) / 2))
    value = (won - lost) / images
    high = _end(lambda far: _score(won, lost, images, far) > -critical, value, 1.0)
    low = _end(lambda far: _score(won, lost, images, far) < critical, value, -1.0)
    return low, high


def _end(kept: Callable[[float], bool], inside: float, outside: float) -> float:
    """Where ``kept`` ends between ``inside`` and ``outside``; ``outside`` if it does not."""
    if kept(outside):
        return outside
    for _ in range(60):
        middle = (inside + outside) / 2
        inside, outside = (middle, outside) if kept(middle) else (inside, middle)
    return inside


def _score(won: int, lost: int, images: int, difference: float) -> float:
    """Tango's statistic for the true difference: standard normal if that is it."""
    a = 2 * images
    b = (2 * images - won + lost) * difference - won - lost
    c = -lost * difference * (1 - difference)
    # The likeliest share of lost images under that difference.
    share = max(0.0, (math.sqrt(max(0.0, b * b - 4 * a * c)) - b) / (2 * a))
    variance = images * (2 * share + difference * (1 - difference))
    distance = won - lost - images * difference
    if variance <= 0:
        return math.copysign(math.inf, distance) if distance else 0.0
    return distance / math.sqrt(variance)


@lru_cache
def visible_drop(
    images: int, discordant: int, power: float = POWER, level: float = FAMILY_ERROR
) -> float | None:
    """The smallest true drop of accuracy (a share) that such a comparison would likely have shown.

    Shown: McNemar's exact test is two-sided significant at ``level`` and points
    downwards; likely: with probability ``power`` at least. An image is told apart (right
    in one of the two only) with the share ``discordant / images`` that was seen, or with
    that of the drop itself where this is larger, so that all of them are losses. Exact:
    the conditional power summed over the binomial number of such images (Duffy,
    Biometrics 40, 1984, 1005-1015). ``None``: not even the loss of every image would.
    """
    seen = discordant / images
    if _power(images, seen, 1.0, level) < power:
        return None
    low, high = 0.0, 1.0
    for _ in range(_DROP_STEPS):
        middle = (low + high) / 2
        low, high = (
            (low, middle) if _power(images, seen, middle, level) >= power else (middle, high)
        )
    return high


def _power(images: int, seen: float, drop: float, level: float) -> float:
    """How likely a drop is shown where at least the share ``seen`` is told apart."""
    share = max(seen, drop)
    if share == 0:
        return 0.0
    spread = _NEGLIGIBLE_SD * math.sqrt(images * share * (1 - share)) + _NEGLIGIBLE_SD
    first = max(0, math.floor(images * share - spread))
    told_apart = np.arange(first, min(images, math.ceil(images * share + spread)) + 1)
    chance = bdtr(told_apart, images, share)
    chance[1:] -= chance[:-1].copy()
    most_won = np.array([_most_won(int(count), level) for count in told_apart])
    shown = bdtr(np.maximum(most_won, 0), told_apart, (share - drop) / (2 * share))
    return float(np.sum(chance * np.where(most_won < 0, 0.0, shown)))


@cache
def _most_won(told_apart: int, level: float) -> int:
    """How many of the images told apart may be won for a significant loss; -1: none may."""
    low, high = -1, told_apart // 2
    while low < high:
        middle = (low + high + 1) // 2
        if mcnemar(told_apart - middle, middle) <= level:
            low = middle
        else:
            high = middle - 1
    return low


def weighted_differences(parent: Scored, row: Scored, classes: int) -> tuple[Estimate, ...]:
    """Weighted precision, recall and F1 of the row less the parent's, with intervals.

    Both must have answered the same images (see ``common``). Normal intervals with the
    jackknife's variance (Efron and Stein, Annals of Statistics 9, 1981, 586-596): each
    image is left out once. Nothing is drawn at random, so that a page stays the same.
    """
    theirs, ours = confusion(parent, classes), confusion(row, classes)
    cells, times = np.unique(
        np.stack([parent.truth, parent.predicted, row.predicted]), axis=1, return_counts=True
    )
    value = _weighted(ours) - _weighted(theirs)
    left = []
    for truth, was, is_now in cells.T:
        theirs[truth, was] -= 1
        ours[truth, is_now] -= 1
        left.append(_weighted(ours) - _weighted(theirs))
        theirs[truth, was] += 1
        ours[truth, is_now] += 1
    centred = np.array(left) - np.average(left, axis=0, weights=times)
    images = len(row)
    variance = (images - 1) / images * (times[:, None] * centred**2).sum(axis=0)
    half = float(ndtri((1 + CONFIDENCE) / 2)) * np.sqrt(variance)
    return tuple(
        Estimate(float(a), float(a - b), float(a + b)) for a, b in zip(value, half, strict=True)
    )


def _weighted(counts: Counts) -> Shares:
    """Weighted precision, recall and F1 of a confusion matrix."""
    if not counts.any():
        return np.zeros(3)
    found = by_class(counts).weighted
    return np.array([found.precision, found.recall, found.f1])
