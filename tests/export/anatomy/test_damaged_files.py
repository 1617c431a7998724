"""Files whose bytes were changed at random: a result, or the one error that says so."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from safetensors.torch import save_file

from export.anatomy.examine import examine
from tests.export.anatomy.graphs import convolutional, refusal, weights
from tests.export.damage import VARIED, damage, damaged

FILTERS = {
    "conv.weight": weights(2, 3, 3, 3),
    "second.weight": weights(2, 2, 3, 3, seed=1),
    "head.weight": weights(3, 32, seed=2),
}
STATE = {"conv.weight": torch.ones(2, 3, 3, 3), "head.weight": torch.ones(3, 32)}


def h5(file: Path) -> None:
    """As Keras 2 lays it out; one array compressed."""
    h5py = pytest.importorskip("h5py")
    with h5py.File(file, "w") as opened:
        group = opened.create_group("model_weights")
        group.attrs["layer_names"] = [b"conv", b"dense"]
        group["conv/conv/kernel:0"] = np.ones((3, 3, 3, 2), np.float32)
        group.create_dataset("dense/dense/kernel:0", data=weights(32, 3), compression="gzip")


def keras(file: Path) -> None:
    """As Keras 3 zips it."""
    import zipfile

    inner = file.with_suffix(".inner")
    h5(inner)
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("config.json", '{"config": {"layers": []}}')
        archive.write(inner, "model.weights.h5")


def onnx(file: Path) -> None:
    """Convolutions and a head behind a Flatten."""
    convolutional(file, FILTERS, metadata={"classes": "a,b,c"})


WRITERS: dict[str, Callable[[Path], None]] = {
    "onnx": onnx,
    "safetensors": lambda file: save_file(STATE, file),
    "pt": lambda file: torch.save(STATE, file),
    "h5": h5,
    "keras": keras,
}


@pytest.fixture(scope="module", params=WRITERS)
def whole(request, tmp_path_factory) -> tuple[str, bytes]:
    """The ending and the bytes of a small file of each kind, which can be examined."""
    file = tmp_path_factory.mktemp("whole") / f"whole.{request.param}"
    WRITERS[request.param](file)
    assert examine(file).contents.parameters > 0
    return request.param, file.read_bytes()


@settings(
    VARIED,
    max_examples=100,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(changes=damage())
def test_a_damaged_file_is_examined_or_refused(whole, tmp_path, changes):
    """No other exception than the one that is shown as a sentence, with the file's name."""
    ending, content = whole
    file = tmp_path / f"damaged.{ending}"
    file.write_bytes(damaged(content, changes))
    assert file.name in (refusal(file) or file.name)


def test_no_two_runs_try_the_same_damage():
    """What the first run in CI has not found the next one may."""
    tried: list[tuple[object, ...]] = []

    def run() -> tuple[object, ...]:
        @settings(VARIED, max_examples=20, database=None)
        @given(changes=damage())
        def draw(changes):
            tried.append(tuple(changes))

        tried.clear()
        draw()
        return tuple(tried)

    assert VARIED.print_blob
    assert run() != run()
