"""16-bit sums of two products: counted against a loop over every one of them."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from export import saturated, sensitivity
from export import saturation as module
from export.build import Int8
from export.images import Preprocess, crops, sample_photographs
from export.qdq import Layer, quantised_layers
from export.quantize import prepare, quantize_static
from export.saturated import exact_answers, saturated_answers, saturated_sums
from export.saturation import MOST, can_saturate, saturation, sentence, table
from export.saturation_page import Saturation, read
from export.to_onnx import write_onnx
from tests.export.given_files import keras_like

SIZE = (12, 12)


class Extreme(nn.Module):
    """Layers of every kind, with weights large and of one sign, so that sums leave 16 bits."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.grouped = nn.Conv2d(8, 6, 3, dilation=2, padding=1, groups=2)
        self.head = nn.Linear(6 * 4 * 4, 5)
        for layer in (self.stem, self.depthwise, self.grouped, self.head):
            weights = layer.weight.detach()
            # One sign for each kernel position, so that neighbours add up.
            signs = torch.rand(weights[:, :1].shape).gt(0.2) * 2 - 1
            weights.copy_(signs * (torch.rand(weights.shape) * 0.3 + 0.7))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        maps = self.depthwise(torch.relu(self.stem(images)))
        logits: torch.Tensor = self.head(self.grouped(torch.relu(maps)).flatten(1))
        return logits


@pytest.fixture(scope="module")
def images() -> NDArray[np.float32]:
    """Crops of real photographs."""
    return Preprocess(SIZE).batch(crops(sample_photographs(), 4, seed=0))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The network before quantisation."""
    folder: Path = tmp_path_factory.mktemp("saturation")
    metadata = {"deploybench.preprocess": Preprocess(SIZE).to_json()}
    write_onnx(Extreme().eval(), folder / "fp32.onnx", SIZE, metadata)
    prepare(folder / "fp32.onnx", folder / "prepared.onnx")
    return folder / "prepared.onnx"


@pytest.fixture(scope="module")
def static(prepared: Path, images: NDArray[np.float32]) -> Path:
    """The network in INT8."""
    quantize_static(prepared, prepared.with_name("static.onnx"), [images])
    return prepared.with_name("static.onnx")


def made(prepared: Path, images: Any, tmp_path: Path, **int8: Any) -> Path:
    """The network in another kind of INT8."""
    quantize_static(prepared, tmp_path / "static.onnx", [images], Int8(**int8))
    return tmp_path / "static.onnx"


def products(layer: Layer, values: NDArray[Any]) -> Iterator[list[int]]:
    """The products behind every output of one image, by the definition of a convolution."""
    attributes = {x.name: onnx.helper.get_attribute_value(x) for x in layer.node.attribute}
    if layer.node.op_type != "Conv":
        for weights in layer.weights[0]:
            yield [int(a) * int(w) for a, w in zip(values[0], weights, strict=True)]
        return
    (top, left, bottom, right), stride = attributes["pads"], attributes["strides"]
    apart = attributes["dilations"]
    _, channels, height, width = values.shape
    high, wide = layer.kernel
    per_group = channels // len(layer.weights)

    def at(channel: int, y: int, x: int) -> int:
        inside = 0 <= y < height and 0 <= x < width
        return int(values[0, channel, y, x]) if inside else layer.zero_point

    ys = range(-top, height + bottom - (high - 1) * apart[0], stride[0])
    xs = range(-left, width + right - (wide - 1) * apart[1], stride[1])
    for group, outputs in enumerate(layer.weights):
        for weights, y, x in itertools.product(outputs, ys, xs):
            places = itertools.product(range(high), range(wide), range(per_group))
            yield [
                at(group * per_group + c, y + i * apart[0], x + j * apart[1]) * int(w)
                for (i, j, c), w in zip(places, weights, strict=True)
            ]


def two_by_two(values: list[int]) -> list[int]:
    """Sums of neighbours; a last one alone."""
    return [sum(values[i : i + 2]) for i in range(0, len(values), 2)]


def brute_force(file: Path, images: NDArray[np.float32]) -> list[tuple[int, int, int, int]]:
    """Outputs, those touched, pairs and those saturated, of each layer."""
    model = onnx.load(file)
    layers = list(quantised_layers(model))
    counts = [[0, 0, 0, 0] for _ in layers]
    for inputs in module._quantised_inputs(model, layers, images):
        for count, layer in zip(counts, layers, strict=True):
            for one in products(layer, layer.unsigned(inputs[layer.input])):
                sums = two_by_two(one)
                beyond = sum(not -32768 <= value <= 32767 for value in sums)
                for i, value in enumerate((1, beyond > 0, len(sums), beyond)):
                    count[i] += value
    return [(a, b, c, d) for a, b, c, d in counts]


def test_counts_are_those_of_a_loop_over_every_product(static: Path, images: Any) -> None:
    """Padding, strides, dilations, groups and an odd number of channels included."""
    found = saturation(static, images[:1], positions=10_000)
    expected = brute_force(static, images[:1])
    assert [one.op_type for one in found] == ["Conv", "Conv", "Conv", "Gemm"]
    for one, row in zip(found, expected, strict=True):
        if not one.immune:
            assert (one.outputs, one.touched, one.pairs, one.saturated) == row
            assert one.touched > 0


def test_depthwise_layers_never_saturate(static: Path, images: Any) -> None:
    """Their kernels have 32 bits for each product."""
    found = saturation(static, images)
    assert [one.immune for one in found] == ["", "depthwise", "", ""]
    assert (found[1].outputs, found[1].possible) == (0, 0.0)


def test_signed_activations_saturate_alike(prepared: Path, images: Any, tmp_path: Path) -> None:
    """ORT shifts them to unsigned: 128 is added, and the zero point is 128."""
    file = made(prepared, images, tmp_path, activation_type="s8")
    assert {layer.zero_point for layer in quantised_layers(onnx.load(file))} == {128}
    found = saturation(file, images[:1], positions=10_000)
    expected = brute_force(file, images[:1])
    ours = [(x.outputs, x.touched, x.pairs, x.saturated) for x in found if not x.immune]
    assert ours == [row for row, x in zip(expected, found, strict=True) if not x.immune]


@pytest.mark.parametrize("remedy", [{"reduce_range": True}, {"weight_type": "u8"}])
def test_remedies_never_saturate(
    prepared: Path, images: Any, tmp_path: Path, remedy: dict[str, Any]
) -> None:
    """With 7-bit or unsigned weights the count is exactly zero, and so is what is possible."""
    found = saturation(made(prepared, images, tmp_path, **remedy), images)
    assert [(one.saturated, one.touched, one.possible) for one in found] == [(0, 0, 0.0)] * 4
    assert "no input can saturate" in sentence(found)


def test_what_weights_make_possible() -> None:
    """Two of one sign whose sizes add up to more than 128; one alone never."""
    weights = np.array([127, 127, 127, -127, -100, -29, 64, 64, 65, 64, -128], np.int8)
    assert can_saturate(weights).tolist() == [True, False, True, False, True, False]


def test_places_are_drawn_by_a_seed(static: Path, images: Any) -> None:
    """The same seed looks at the same outputs, as many as were asked for."""
    first, again, other = (saturation(static, images, 8, seed) for seed in (0, 0, 1))
    assert first == again != other
    assert first[0].outputs == 8 * 8


def test_remedies_make_whole_sums(prepared: Path, images: Any, tmp_path: Path) -> None:
    """Where nothing saturates the answers are those of whole sums, bit for bit."""
    safe = made(prepared, images, tmp_path, reduce_range=True)
    assert np.array_equal(saturated_answers(safe, images), exact_answers(safe, images))


def test_without_limits_nothing_changes(
    static: Path, images: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Layer by layer in numpy is the same network: only cutting off makes a difference."""
    exact = exact_answers(static, images)
    assert not np.allclose(saturated_answers(static, images), exact)
    monkeypatch.setattr(saturated, "LEAST", -(1 << 30))
    monkeypatch.setattr(saturated, "MOST", 1 << 30)
    assert np.allclose(saturated_answers(static, images), exact, rtol=1e-5)


def test_layer_sums_are_cut_off(static: Path, images: Any) -> None:
    """Every accumulation is the sum of sums of two, each within 16 bits, less the zero point's."""
    model = onnx.load(static)
    layers = [x for x in quantised_layers(model) if not x.immune]
    (inputs,) = module._quantised_inputs(model, layers, images[:1])
    for layer in layers:
        values = layer.unsigned(inputs[layer.input])
        zero = layer.zero_point * layer.weights.sum(axis=2, dtype=int).ravel()
        cut = [sum(np.clip(two_by_two(x), -MOST - 1, MOST)) for x in products(layer, values)]
        found = saturated_sums(layer, values)
        assert np.array_equal(found.T, np.reshape(cut, (found.shape[1], -1)) - zero[:, None])


def test_the_sentence_names_the_worst_layer_and_the_remedies() -> None:
    """A warning where sums saturate, a milder word where they only could."""
    good = Saturation("a", "Conv", 27, outputs=10, pairs=140, possible=0.5)
    bad = Saturation("b", "Gemm", 64, outputs=10, touched=3, pairs=320, saturated=4, possible=0.1)
    assert sentence([good, bad]).startswith(
        "WARNING: without VNNI 1 of 2 layers would saturate, most in b (30.00% of its outputs)"
    )
    assert "int8-static-7bit or int8-static-u8u8" in sentence([good, bad])
    assert sentence([good]).startswith("none of these images saturates a sum; 1 of 1 layers")
    assert table([good, bad]).splitlines()[2].split() == [
        "b",
        "64",
        "30.000%",
        "1.2500%",
        "10.000%",
    ]


def test_the_command_line(static: Path, prepared: Path, capsys: Any) -> None:
    """1 where a sum saturates, 2 for a file that is no static INT8 file, in words."""
    assert module.main([str(static), "--images", "2"]) == 1
    assert "WARNING: without VNNI 3 of 4 layers" in capsys.readouterr().out
    assert module.main([str(prepared), "--images", "2"]) == 2
    assert "it is no static INT8 file" in capsys.readouterr().err
    assert module.main([str(static), "--images", "2", "--effect", "3"]) == 2
    assert "--effect needs labelled images" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words", [["--images", "-1"], ["--images", "0"], ["--positions", "0"], ["--effect", "-1"]]
)
def test_numbers_that_count_nothing_are_refused(words: list[str], capsys: Any) -> None:
    """With the flag and the value, before the file is opened."""
    with pytest.raises(SystemExit) as end:
        module.main(["missing.onnx", *words])
    assert end.value.code == 2
    error = capsys.readouterr().err
    assert words[0] in error and f"{words[1]!r} is no whole number" in error


def labelled(file: Path, **said: str) -> Path:
    """The same file with more metadata."""
    model = onnx.load(file)
    for key, value in said.items():
        model.metadata_props.add(key=f"deploybench.{key}", value=value)
    onnx.save(model, file)
    return file


def test_figures_are_kept_for_a_page(static: Path, tmp_path: Path) -> None:
    """Which file and images, and every layer by the name of its weight."""
    kept = tmp_path / "new" / "extreme.json"
    file = labelled(Path(shutil.copy(static, tmp_path / "file.onnx")), variant="extreme", key="k-1")
    assert module.main([str(file), "--images", "2", "--json", str(kept)]) == 1
    found = read(kept)
    assert (found.variant, found.key, found.data, found.images) == ("extreme", "k-1", "", 2)
    assert [one.shown for one in found.layers] == ["stem", "depthwise", "grouped", "head"]
    assert found.layers[0].saturated > 0


@pytest.mark.parametrize(
    ("said", "text"),
    [
        ({"class_names": '["a", "x"]'}, "has 2 (cat, dog): only the data has cat, dog"),
        (
            {"class_names": '["1", "2", "3"]', "class_names_are_placeholders": "true"},
            "has 3 classes (without names)",
        ),
    ],
)
@pytest.mark.parametrize("program", [module, sensitivity])
def test_images_of_other_classes_are_refused(
    static: Path, tmp_path: Path, capsys: Any, program: Any, said: dict[str, str], text: str
) -> None:
    """Before any of them is read, by both programs that take images for a file; 2, both sides."""
    for name in ("cat", "dog"):
        (tmp_path / "pets" / name).mkdir(parents=True)
        (tmp_path / "pets" / name / "1.png").write_bytes(b"never read")
    file = labelled(Path(shutil.copy(static, tmp_path / "file.onnx")), **said)
    assert program.main([str(file), "--data", str(tmp_path / "pets")]) == 2
    error = capsys.readouterr().err
    assert text in error and str(file) in error
    seeded = labelled(file, weights="seeded")
    assert program.main([str(seeded), "--data", str(tmp_path / "pets")]) == 2
    assert "can't be read" in capsys.readouterr().err


def test_labels_of_a_file_that_names_no_classes_would_be_a_guess(
    static: Path, tmp_path: Path
) -> None:
    """As many classes are not the same classes."""
    for name in ("cat", "dog"):
        (tmp_path / "pets" / name).mkdir(parents=True)
        (tmp_path / "pets" / name / "1.png").write_bytes(b"never read")
    said = {"class_names": '["1", "2"]', "class_names_are_placeholders": "true"}
    file = labelled(Path(shutil.copy(static, tmp_path / "file.onnx")), **said)
    with pytest.raises(ValueError, match="does not name its classes"):
        saturated.effect(file, Preprocess(SIZE), str(tmp_path / "pets"), 3)


def test_a_fixed_batch_is_looked_at_image_by_image(tmp_path: Path) -> None:
    """A given file that takes four at a time saturates as one that takes any number."""
    photos = np.random.default_rng(1).uniform(0, 255, (4, 16, 16, 3)).astype(np.float32)
    found = []
    for batch in (4, "N"):
        prepared, file = tmp_path / f"{batch}.onnx", tmp_path / f"{batch}-int8.onnx"
        prepare(keras_like(tmp_path / "given.onnx", batch=batch), prepared)
        quantize_static(prepared, file, [photos])
        found.append([(one.name, one.share) for one in saturation(file, photos)])
    assert found[0] == found[1] != []
