"""Which output stands for which folder, and when that is no more than chance."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.matching import matched


def answers_of(labels: list[int], order: list[int], right: float, seed: int = 0) -> list[int]:
    """A model whose output for class ``i`` is ``order[i]``, right in that share of images."""
    chance = np.random.default_rng(seed)
    return [
        order[label] if chance.random() < right else int(chance.integers(len(order)))
        for label in labels
    ]


@given(st.permutations(range(7)))
def test_a_permutation_is_found_again(order: list[int]) -> None:
    """Whatever order the outputs are in."""
    labels = [number % 7 for number in range(70)]
    found = matched([order[label] for label in labels], labels, 7, 7)
    assert {pair.folder: pair.output for pair in found.pairs} == dict(enumerate(order))
    assert all(pair.sure and pair.hits == pair.images == pair.answers == 10 for pair in found.pairs)
    assert (found.hits, found.tested) == (35, 35)
    assert found.better_than_chance


def test_a_model_that_is_often_wrong_is_still_matched() -> None:
    """Most answers of a class name it, and the numbers say how many."""
    labels = [number % 5 for number in range(200)]
    order = [3, 1, 4, 0, 2]
    found = matched(answers_of(labels, order, 0.6), labels, 5, 5)
    assert {pair.folder: pair.output for pair in found.pairs} == dict(enumerate(order))
    assert found.surely_right > 0.5


@pytest.mark.parametrize("seed", range(20))
def test_guessing_is_no_better_than_chance(seed: int) -> None:
    """The assignment is tested on images that it was not made from: it can't fit to noise."""
    chance = np.random.default_rng(seed)
    labels = [number % 10 for number in range(200)]
    found = matched(chance.integers(10, size=200).tolist(), labels, 10, 10)
    assert not found.better_than_chance


def test_naming_always_the_most_frequent_class_is_chance() -> None:
    """With uneven folders a constant answer is often right, and proves nothing."""
    labels = [0] * 80 + [1] * 20
    found = matched([1] * 100, labels, 2, 2)
    assert (found.hits, found.tested, found.chance) == (40, 50, 0.8)
    assert not found.better_than_chance


def test_more_outputs_than_folders_and_fewer() -> None:
    """Each is used once; what is left over has no pair."""
    labels = [0, 1] * 10
    more = matched([4 if label else 2 for label in labels], labels, 6, 2)
    assert {(pair.output, pair.folder) for pair in more.pairs} == {(2, 0), (4, 1)}
    labels = [0, 1, 2] * 10
    fewer = matched([min(label, 1) for label in labels], labels, 2, 3)
    assert len(fewer.pairs) == 2


def test_a_pair_that_rests_on_too_little_is_unsure() -> None:
    """One image of a class that the model never names."""
    labels = [0, 1] * 20 + [2]
    found = matched([0, 1] * 20 + [0], labels, 3, 3)
    sure = {pair.folder: pair.sure for pair in found.pairs}
    assert sure == {0: True, 1: True, 2: False}


def test_a_pair_was_chosen_from_all_that_there_could_be() -> None:
    """Of many outputs and folders some rare answer falls into one folder twice, by chance."""
    labels = [number % 40 for number in range(800)]
    answers = list(labels)
    for image in [number for number in range(800) if labels[number] == 3]:
        answers[image] = 5  # the third output is named twice only, both times rightly
    answers[3] = answers[43] = 3
    found = matched(answers, labels, 40, 40)
    (third,) = (pair for pair in found.pairs if pair.output == 3)
    assert (third.folder, third.hits, third.answers, third.sure) == (3, 2, 2, False)


def test_too_few_images_are_refused() -> None:
    """Nothing can be tested with one."""
    with pytest.raises(ValueError, match="two or more"):
        matched([0], [0], 1, 1)


def test_nothing_held_out_proves_nothing() -> None:
    """One image a folder leaves none to test by."""
    found = matched([0, 1], [0, 1], 2, 2)
    assert (found.tested, found.p_value, found.surely_right) == (0, 1.0, 0.0)


def test_outputs_that_were_no_answer_take_no_room() -> None:
    """A file may claim any number of classes: a table of outputs by folders could be terabytes."""
    labels = [0, 1] * 10
    last = 10**9 - 1
    found = matched([last if label else 5 for label in labels], labels, 10**9, 1000)
    assert {pair.folder: pair.output for pair in found.pairs if pair.hits} == {0: 5, 1: last}
    assert len(found.pairs) == 1000


def test_at_best_all_tested_images_are_right() -> None:
    """What the most that could have been answered would have proven."""
    labels = [0, 1] * 20
    best = matched([0] * 40, labels, 2, 2).at_best
    assert (best.hits, best.tested, best.chance) == (20, 20, 0.5)
    assert best.p_value == matched(labels, labels, 2, 2).p_value
