"""The child's side of labelled images: which class, and how many are ahead of the true one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from bench import worker
from export.images import Preprocess
from runtimes import Loaded

PLAIN = Preprocess((2, 2), mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), scale=1.0)


class Model:
    """Answers with the first pixel's colour: the outputs are red, green, blue."""

    def __init__(self, batch_size: int) -> None:
        self.seen: list[list[float]] = []
        self.session = worker.Session()
        self.session.loaded = Loaded(self.run, "fp32")
        self.session.batches = [np.zeros((batch_size, 3, 2, 2), np.float32)]

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """As a runtime does, into a buffer that the next call writes again."""
        self.seen.append(batch[:, 0, 0, 0].tolist())
        return batch[:, :, 0, 0]


def colours(tmp_path: Path, rows: Sequence[Sequence[int]]) -> Path:
    """A .npy of 2 x 2 images, each of one colour."""
    pixels = np.array(rows, np.uint8)[:, None, None, :].repeat(2, 1).repeat(2, 2)
    np.save(tmp_path / "pixels.npy", pixels)
    return tmp_path / "pixels.npy"


def message(pixels: Path, labels: Sequence[int], columns: Sequence[int] = (0, 1, 2)) -> dict:
    """What the parent sends."""
    return {
        "do": "classify",
        "pixels": str(pixels),
        "preprocess": PLAIN.to_json(),
        "columns": list(columns),
        "labels": list(labels),
    }


def test_ranks_count_what_is_ahead_and_ties_go_to_the_lower_number() -> None:
    """An equal output of a lower number is ahead, one of a higher number is not."""
    outputs = np.array([[3, 1, 2], [5, 5, 1], [5, 5, 1], [0, 0, 0]], np.float32)
    predicted, ranks = worker.ranked(outputs, np.array([1, 0, 1, 2]))
    assert predicted == [0, 0, 0, 0]
    assert ranks == [2, 0, 1, 2]


def test_every_image_is_answered_once_and_the_last_batch_is_full(tmp_path: Path) -> None:
    """Five images in batches of two: the sixth place is filled up and its answer dropped."""
    model = Model(batch_size=2)
    pixels = colours(tmp_path, [(9, 0, 0), (0, 8, 0), (0, 0, 7), (6, 1, 0), (1, 5, 0)])
    answer = worker.answer(model.session, message(pixels, [0, 1, 2, 1, 1]))
    assert answer == {"status": "ok", "predicted": [0, 1, 2, 0, 1], "ranks": [0, 0, 0, 1, 0]}
    assert model.seen == [[9, 0], [0, 6], [1, 9]]


def test_a_sample_is_the_first_images(tmp_path: Path) -> None:
    """As many as there are labels, fewer than a batch included."""
    model = Model(batch_size=4)
    pixels = colours(tmp_path, [(9, 0, 0), (0, 8, 0), (0, 0, 7), (6, 1, 0), (1, 5, 0)])
    answer = worker.answer(model.session, message(pixels, [0, 1, 2]))
    assert answer["predicted"] == [0, 1, 2]
    assert model.seen == [[9, 0, 0, 9]]


def test_outputs_are_put_into_the_order_of_the_labels(tmp_path: Path) -> None:
    """A model whose classes stand in another order is asked by name, not by place."""
    model = Model(batch_size=1)
    pixels = colours(tmp_path, [(9, 0, 0), (0, 8, 0)])
    answer = worker.answer(model.session, message(pixels, [2, 0], columns=(1, 2, 0)))
    assert answer == {"status": "ok", "predicted": [2, 0], "ranks": [0, 0]}


def test_images_are_normalised_as_everywhere(tmp_path: Path) -> None:
    """What the model sees is what Preprocess makes of the pixels."""
    usual = Preprocess((2, 2))
    model = Model(batch_size=1)
    pixels = colours(tmp_path, [(9, 200, 31)])
    worker.answer(model.session, message(pixels, [1]) | {"preprocess": usual.to_json()})
    assert model.seen == [[usual.normalised(np.load(pixels))[0, 0, 0, 0]]]


def test_no_class_is_read_from_what_is_no_number(tmp_path: Path) -> None:
    """NaN is a failure in a sentence, not class 0."""
    model = Model(batch_size=1)
    nothing = np.full((1, 3), np.nan, np.float32)
    model.session.loaded = Loaded(lambda batch: nothing, "fp32")
    answer = worker.answer(model.session, message(colours(tmp_path, [(1, 2, 3)]), [0]))
    assert answer["status"] == "failed"
    assert answer["reason"].startswith("image 0 and on: NaN (not a number) among the outputs")


@pytest.mark.parametrize("classes", [2, 4])
def test_a_model_of_other_classes_is_not_read(tmp_path: Path, classes: int) -> None:
    """As many outputs as there are names, or none of them means anything."""
    model = Model(batch_size=1)
    model.session.loaded = Loaded(lambda batch: np.zeros((1, classes), np.float32), "fp32")
    answer = worker.answer(model.session, message(colours(tmp_path, [(1, 2, 3)]), [0]))
    assert answer["status"] == "failed"
    assert f"outputs of shape (1, {classes}), where (1, 3) was asked for" in answer["reason"]
