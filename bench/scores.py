"""Labels and answers -> what may be said of them: each rule of accuracy written once.

Pure functions over numpy and ``scipy.special``. Precision, recall and F1 are those of
scikit-learn with ``zero_division=0``. An accuracy has the exact binomial interval of Clopper and
Pearson (Biometrika 26, 1934, 404-413), which misses with at most 2.5 % on either side. How two
rows are compared image by image stands in ``bench.turned``. The measuring child never imports
this.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import betaincinv, ndtri

from bench.record import Answers, Labelled, RecordError
from bench.stats import CONFIDENCE, Estimate
from bench.turned import Turned

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
