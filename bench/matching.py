"""Which output of a model stands for which class folder, told from its answers. Pure functions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.stats import binomtest

ALPHA = 0.01
"""Above this p-value a model is taken for one that does not know the classes."""
_PAIR_ALPHA = 0.05
"""The same of a single pair, divided by how many it was chosen from (Bonferroni)."""


@dataclass(frozen=True)
class Pair:
    """Output number ``output`` stands for folder number ``folder``.

    ``hits`` of the folder's ``images`` were answered so, of ``answers`` such answers in all.
    ``sure``: more than answering so by chance, as often, would bring.
    """

    output: int
    folder: int
    hits: int
    images: int
    answers: int
    sure: bool


@dataclass(frozen=True)
class Matching:
    """The best assignment, and whether a model that knows nothing could have brought it about.

    ``tested`` images, which the assignment that is tested was not made from, were answered
    rightly ``hits`` times; ``chance`` is the share of the most frequent folder among them, which
    no guessing exceeds, and ``p_value`` that of an exact binomial test against it.
    """

    pairs: tuple[Pair, ...]
    hits: int
    tested: int
    chance: float
    p_value: float

    @property
    def better_than_chance(self) -> bool:
        """Whether the answers have anything to do with the folders."""
        return self.p_value <= ALPHA

    @property
    def surely_right(self) -> float:
        """The share of right answers that is exceeded beyond doubt (Clopper and Pearson, 99 %)."""
        if not self.tested:
            return 0.0
        interval = binomtest(self.hits, self.tested, alternative="greater").proportion_ci(1 - ALPHA)
        return float(interval.low)

    @property
    def at_best(self) -> Matching:
        """The same had all of the tested images been answered rightly."""
        return replace(self, hits=self.tested, p_value=self.chance**self.tested)


def matched(answers: Sequence[int], labels: Sequence[int], outputs: int, folders: int) -> Matching:
    """The assignment of outputs to folders that makes most answers right.

    ``answers`` are numbers of outputs, ``labels`` numbers of folders, an image each. Every
    second image of a folder serves to test what the others were assigned by; the pairs that are
    returned are of all images. Fewer than two images are a ``ValueError``.
    """
    if len(answers) != len(labels) or len(labels) < 2:
        raise ValueError(f"{len(answers)} answers for {len(labels)} images: give two or more each")
    said, true = np.asarray(answers), np.asarray(labels)
    held_out = _second_of_each(true)
    learnt = _assigned(said[~held_out], true[~held_out], outputs, folders)
    hits = sum(learnt.get(int(o)) == f for o, f in zip(said[held_out], true[held_out], strict=True))
    tested = int(held_out.sum())
    chance = float(np.bincount(true[held_out]).max() / tested) if tested else 1.0
    p_value = binomtest(int(hits), tested, chance, "greater").pvalue if tested else 1.0
    pairs = _pairs(said, true, outputs, folders)
    return Matching(pairs, int(hits), tested, chance, float(p_value))


def _second_of_each(labels: NDArray[np.int_]) -> NDArray[np.bool_]:
    """Every second image of each folder."""
    places = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        places[np.flatnonzero(labels == label)[1::2]] = True
    return places


def _assigned(
    said: NDArray[np.int_], true: NDArray[np.int_], outputs: int, folders: int
) -> dict[int, int]:
    """Output -> folder, as many as there are of the fewer; each once, most answers right.

    Counted are only outputs that were an answer: a file may claim a million of them. What is
    left over is paired in its order, for nothing tells one such pair from another.
    """
    answered, rows = np.unique(said, return_inverse=True)
    shown, columns = np.unique(true, return_inverse=True)
    counts = np.zeros((len(answered), len(shown)), int)
    np.add.at(counts, (rows, columns), 1)
    best = zip(*linear_sum_assignment(counts, maximize=True), strict=True)
    found = {int(answered[row]): int(shown[column]) for row, column in best}
    taken = set(found.values())
    free = (output for output in range(outputs) if output not in found)
    rest = (folder for folder in range(folders) if folder not in taken)
    return found | dict(zip(free, rest, strict=False))


def _pairs(
    said: NDArray[np.int_], true: NDArray[np.int_], outputs: int, folders: int
) -> tuple[Pair, ...]:
    together = Counter(zip(said.tolist(), true.tolist(), strict=True))
    of_output, of_folder = Counter(said.tolist()), Counter(true.tolist())
    # Any output could have been assigned to any folder: so many were looked at.
    limit = _PAIR_ALPHA / (outputs * folders)
    found = []
    for output, folder in _assigned(said, true, outputs, folders).items():
        hits, images, answers = together[output, folder], of_folder[folder], of_output[output]
        share = answers / len(said)
        sure = images > 0 and binomtest(hits, images, share, "greater").pvalue <= limit
        found.append(Pair(output, folder, hits, images, answers, bool(sure)))
    return tuple(found)
