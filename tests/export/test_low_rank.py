from __future__ import annotations

import json

import numpy as np
import onnx
import pytest

from export import factors, optimize, rewrite
from export.anatomy import count
from export.build import CannotShrink, Node
from export.factors import factorized
from export.linear import linear_layers
from export.low_rank import METADATA, _note, low_rank
from export.optimize import data_files, read_metadata, stored_bytes
from export.quantize import prepare
from export.steps import _refuses
from tests.export.given_files import keras_like

RANK = 6
"""Of the large matrix of the foreign network, but for some noise."""


@pytest.fixture
def prepared(foreign, tmp_path):
    """``prepared(**options)``: a foreign network after ``prepare``, its weights outside."""

    def make(**options):
        file = tmp_path / "prepared.onnx"
        prepare(foreign(tmp_path, **options), file)
        return file

    return make


def test_answers_stay_within_the_bound(
    prepared, tmp_path, photos, answers, openvino_answers, error
):
    """ONNX Runtime and OpenVINO answer new images as before, within the bound."""
    source, target = prepared(), tmp_path / "low.onnx"
    facts = low_rank(source, target, photos[:15], bound=0.05)["low_rank"]
    expected, found = answers(source, photos[15:]), answers(target, photos[15:])
    spread = expected - expected.mean(axis=0)
    assert 0 < np.linalg.norm(found - expected) < 0.05 * np.linalg.norm(spread)
    assert error(openvino_answers(target, photos[15:]), found) < 1e-5
    (split,) = facts["layers"].values()
    assert (split["inputs"], split["outputs"]) == (512, 64)
    assert 0 < split["rank"] <= RANK
    assert 0 < split["error"] <= facts["bound"] == 0.05
    assert split["images"] == 5  # a third: those that chose the rank


@pytest.mark.parametrize("options", [{"opset": 9, "listed": True}, {"outside": True}])
def test_files_of_other_tools(prepared, tmp_path, photos, answers, options):
    """Old opsets, weights listed among the inputs, data files: all the same."""
    source, target = prepared(**options), tmp_path / "low.onnx"
    low_rank(source, target, photos)
    expected = answers(source, photos)
    spread = expected - expected.mean(axis=0)
    assert np.linalg.norm(answers(target, photos) - expected) < 0.06 * np.linalg.norm(spread)


def test_the_metadata_say_what_was_done(prepared, tmp_path, photos):
    """Bound, ranks and errors stand in the file, beside what its source said of itself."""
    target = tmp_path / "low.onnx"
    facts = low_rank(prepared(), target, photos)
    metadata = read_metadata(target)
    assert json.loads(metadata[METADATA]) == facts["low_rank"]
    assert metadata["classes"] == "ten"


def test_counting_and_size(prepared, tmp_path, photos):
    """rank x (inputs + outputs) takes the place of inputs x outputs: weights, work and bytes."""
    source, target = prepared(), tmp_path / "low.onnx"
    (split,) = low_rank(source, target, photos)["low_rank"]["layers"].values()
    saved = 512 * 64 - split["rank"] * (512 + 64)
    before, after = count(source), count(target)
    assert before.parameters - after.parameters == saved
    assert before.macs - after.macs == saved
    unused = 4 * 300  # the vector that nobody reads
    assert stored_bytes(source) - stored_bytes(target) == pytest.approx(
        4 * saved + unused, abs=1500
    )


def test_the_head_is_left_alone(prepared, tmp_path, photos, operators):
    """A layer whose rank would have to be nearly full stays as it is."""
    target = tmp_path / "low.onnx"
    layers = low_rank(prepared(), target, photos)["low_rank"]["layers"]
    assert len(layers) == 1
    assert [x for x in operators(target) if x in ("MatMul", "Gemm")] == ["MatMul", "Gemm", "Gemm"]


def test_a_fixed_batch_is_fed_image_by_image(tmp_path):
    """A given file that takes four at a time is split as one that takes any number."""
    chance = np.random.default_rng(1)
    images = chance.uniform(0, 255, (9, 1, 1, 1)) * chance.uniform(size=(9, 16, 16, 3))
    facts = []
    for batch in (4, "N"):
        source, target = tmp_path / "prepared.onnx", tmp_path / "low.onnx"
        prepare(keras_like(tmp_path / "given.onnx", batch=batch), source)
        facts.append(low_rank(source, target, images.astype(np.float32), bound=0.9))
    assert facts[0] == facts[1]


def test_values_that_only_a_branch_reads(foreign, branching, tmp_path, photos, answers):
    """What stands in no node's inputs, but in a body's, is no unused weight."""
    source, target = tmp_path / "prepared.onnx", tmp_path / "low.onnx"
    prepare(branching(foreign(tmp_path)), source)
    low_rank(source, target, photos)
    expected = answers(source, photos)
    spread = expected - expected.mean(axis=0)
    assert np.linalg.norm(answers(target, photos) - expected) < 0.06 * np.linalg.norm(spread)


def test_a_matrix_that_a_branch_reads_too(foreign, branching, tmp_path):
    """It is not the layer's own: what turned it or took it out would change the branch."""
    file = branching(foreign(tmp_path), read="dense/kernel")
    prepare(file, tmp_path / "prepared.onnx")
    found = linear_layers(onnx.load(tmp_path / "prepared.onnx").graph)
    assert [node.op_type for node in found] == ["Gemm"]


def test_no_layer_gains(prepared, tmp_path, photos):
    """A network of full rank is refused in a sentence with the bound, and nothing is written."""
    full = np.random.default_rng(0).standard_normal((512, 64)).astype(np.float32)
    source = prepared(**{"dense/kernel": full})
    with pytest.raises(CannotShrink, match="lose more than 1% of its outputs or save less than 10"):
        low_rank(source, tmp_path / "low.onnx", photos, bound=0.01)
    assert not (tmp_path / "low.onnx").exists()


def test_too_few_images(prepared, tmp_path, photos):
    """An error that two images measured would say nothing: the flag is named."""
    with pytest.raises(ValueError, match="5 calibration images are too few.*--calibration-images"):
        low_rank(prepared(), tmp_path / "low.onnx", photos[:5])


def test_large_networks(prepared, tmp_path, photos, answers, monkeypatch):
    """Over protobuf's limit the factors go to a data file."""
    source = prepared(outside=True)
    for module in (optimize, rewrite):
        monkeypatch.setattr(module, "LARGEST_SINGLE_FILE", 1000)
    low_rank(source, tmp_path / "low.onnx", photos)
    assert data_files(tmp_path / "low.onnx") == [tmp_path / "low.onnx.data"]
    assert answers(tmp_path / "low.onnx", photos[:1]).shape == (1, 10)
    onnx.checker.check_model(tmp_path / "low.onnx")


def noisy(inputs: int, outputs: int, rank: int) -> np.ndarray:
    """A matrix of that rank, and a hundredth of noise."""
    chance = np.random.default_rng(0)
    matrix = chance.standard_normal((inputs, rank)) @ chance.standard_normal((rank, outputs))
    matrix += 0.01 * np.sqrt(rank) * chance.standard_normal((inputs, outputs))
    return matrix.astype(np.float32)


@pytest.mark.parametrize(("inputs", "outputs"), [(200, 40), (40, 200), (80, 80)])
def test_rank_and_error(inputs, outputs):
    """Tall, wide and square: the true rank is found, and the error is the one that is stated."""
    matrix = noisy(inputs, outputs, rank=5)
    features = np.random.default_rng(1).standard_normal((30, inputs)).astype(np.float32) + 1
    made = factorized(matrix, features, bound=0.03)
    assert made is not None and made.split.rank == 5
    held = features[::3]
    exact = held @ matrix
    found = held @ made.first @ made.second + made.shift
    others = np.delete(features, np.s_[::3], axis=0) @ matrix
    error = np.linalg.norm(found - exact) / np.linalg.norm(exact - others.mean(axis=0))
    assert error == pytest.approx(made.split.error, rel=1e-3)


def test_blocks_change_nothing(monkeypatch):
    """A matrix that is read row by row gives the same factors."""
    matrix = noisy(60, 20, rank=3)
    features = np.random.default_rng(1).standard_normal((9, 60)).astype(np.float32)
    whole = factorized(matrix, features, 0.05)
    monkeypatch.setattr(factors, "_BLOCK_BYTES", 1)
    parts = factorized(matrix, features, 0.05)
    assert whole is not None and parts is not None
    np.testing.assert_allclose(whole.first @ whole.second, parts.first @ parts.second, atol=1e-4)


def test_inputs_that_carry_more_weigh_more():
    """Of two parts of equal size the one that the images use is kept."""
    chance = np.random.default_rng(0)
    matrix = np.zeros((80, 40), np.float32)
    matrix[:40, :20] = chance.standard_normal((40, 20))
    matrix[40:, 20:] = chance.standard_normal((40, 20)) * 2
    features = chance.standard_normal((30, 80)).astype(np.float32)
    features[:, 40:] *= 1e-3
    made = factorized(matrix, features, bound=0.05)
    assert made is not None and made.split.rank <= 20


def test_what_all_images_share_goes_into_the_bias():
    """A constant part of the inputs costs no rank."""
    matrix = noisy(100, 30, rank=4)
    features = np.random.default_rng(1).standard_normal((12, 100)).astype(np.float32)
    plain, shifted = (factorized(matrix, features + by, 0.05) for by in (0, 50))
    assert plain is not None and shifted is not None
    assert plain.split.rank == shifted.split.rank
    found = (features + 50) @ shifted.first @ shifted.second + shifted.shift
    exact = (features + 50) @ matrix
    spread = exact - exact.mean(axis=0)
    assert np.linalg.norm(found - exact) < 0.06 * np.linalg.norm(spread)


def test_images_that_are_all_alike_show_nothing():
    """Where every image is answered alike there is no error to bound."""
    features = np.ones((9, 60), np.float32)
    assert factorized(np.zeros((60, 20), np.float32), features, 0.05) is None


def test_what_gains_nothing_is_a_row_with_a_reason():
    """A refusal is no fault of the build: the row is unsupported; a plain mistake is a failure."""
    node = Node("key", "vgg19", "low-rank", "onnx", "low-rank")
    assert _refuses(node, CannotShrink("no layer can do with a lower rank"))
    assert not _refuses(node, ValueError("5 calibration images are too few"))


def split_by_hand(matrix: np.ndarray, features: np.ndarray, made: factors.Factors):
    """What is left out of the matrix, the mean input, and how far the outputs are off."""
    first, second = made.first.astype(np.float64), made.second.astype(np.float64)
    mean = np.delete(features, np.s_[::3], axis=0).mean(axis=0, dtype=np.float64)

    def off(inputs: np.ndarray) -> np.ndarray:
        found = inputs @ first @ second + made.shift
        return np.asarray(np.linalg.norm(inputs @ matrix - found, axis=1))

    return matrix - first @ second, mean, off


@pytest.mark.parametrize(("inputs", "outputs"), [(200, 40), (40, 200), (80, 80)])
def test_no_input_is_answered_worse_than_the_bound(inputs, outputs):
    """Of inputs of any size and direction none passes it, and the worst direction reaches it."""
    matrix = noisy(inputs, outputs, rank=5).astype(np.float32)
    chance = np.random.default_rng(1)
    features = chance.standard_normal((30, inputs)).astype(np.float32) + 1
    made = factorized(matrix, features, bound=0.03)
    assert made is not None
    left, mean, off = split_by_hand(matrix, features, made)
    anything = chance.standard_normal((500, inputs)) * chance.uniform(0, 100, (500, 1))
    anything += chance.standard_normal((500, inputs)).cumsum(axis=1)
    far = np.linalg.norm(anything - mean, axis=1)
    assert (off(anything) <= made.split.worst_gain * far * 1.001).all()
    worst = np.linalg.svd(left)[0][:, 0]
    assert off(mean + worst[None]) == pytest.approx(made.split.worst_gain, rel=0.01)


def test_the_bound_as_a_share_is_of_inputs_as_far_away_as_the_images():
    """No set of them passes it, the images among them; those in the worst direction reach it."""
    matrix = noisy(200, 40, rank=5)
    chance = np.random.default_rng(1)
    features = chance.standard_normal((30, 200)).astype(np.float32) + 1
    made = factorized(matrix, features, bound=0.03)
    assert made is not None and made.split.error < made.split.worst_error
    left, mean, off = split_by_hand(matrix, features, made)
    held = features[::3]
    answers = np.linalg.norm((held - mean) @ matrix)
    far = np.linalg.norm(held - mean, axis=1, keepdims=True)
    assert np.linalg.norm(off(held)) / answers == pytest.approx(made.split.error, rel=1e-3)
    worst = mean + far * np.linalg.svd(left)[0][:, 0]
    assert np.linalg.norm(off(worst)) / answers == pytest.approx(made.split.worst_error, rel=0.01)


def test_what_is_of_low_rank_is_bound_by_next_to_nothing():
    """Where nothing is left out, rounding alone remains of the bound."""
    chance = np.random.default_rng(0)
    thin, wide = chance.integers(-3, 4, (60, 3)), chance.integers(-3, 4, (3, 40))
    matrix = (thin @ wide).astype(np.float32)
    made = factorized(matrix, chance.standard_normal((9, 60)).astype(np.float32), bound=0.01)
    assert made is not None and made.split.rank == 3
    assert 0 < made.split.worst_gain < 1e-5 * np.linalg.norm(matrix)


def test_the_note_tells_the_estimate_and_the_bound(prepared, tmp_path, photos):
    """In a few words for each layer, and nothing of a name that moves a terminal."""
    found = low_rank(prepared(), tmp_path / "low.onnx", photos)
    ((name, split),) = found["low_rank"]["layers"].items()
    assert found["note"] == (
        f"{name} has rank {split['rank']} of 64, off by {100 * split['error']:.2g} % on 8 images "
        f"(at most {100 * split['worst_error']:.2g} % on any inputs as far from the mean)"
    )
    many = {f"layer\x1b[{number}m": factors.Split(**split) for number in range(5)}
    text = _note(many)
    assert text.count("has rank") == 3 and text.endswith("; and 2 more")
    assert "\x1b" not in text
