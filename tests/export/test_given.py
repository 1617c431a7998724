"""What is said about a given model: by flags, by the file beside it, by its own metadata."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from export.build import Context, Options, Wanted, chain
from export.given import Described, GivenError, Port, Said, checked, settings_beside, variant
from export.images import Preprocess
from export.recipes import RECIPES, chains_of
from export.variants import VARIANTS, register

TOLD = Said(preset="torch", resize="squash", filter="bilinear")
NAMES = tuple(f"leaf {number}" for number in range(10))


def described(**changes: Any) -> Described:
    """A file with channels last, 16 pixels wide and high."""
    values: dict[str, Any] = {
        "file": "/models/leaf.onnx",
        "sha256": "5a" * 32,
        "size_bytes": 1000,
        "opset": 13,
        "inputs": (Port("image", "float", (None, 16, 16, 3)),),
        "outputs": (Port("probs", "float", (None, 10)),),
    }
    return Described(**{**values, **changes})


def preprocess(row: Described, flags: Said = TOLD, beside: Said | None = None) -> Preprocess:
    """How ``row`` takes an image."""
    given = variant(row, flags, beside or Said()).given
    assert given is not None
    return Preprocess.from_json(given.preprocess)


def test_a_file_is_a_variant_named_like_itself() -> None:
    """Name, size, classes and what can't be seen in a graph stand in one row."""
    row = variant(described(), TOLD, Said())
    assert (row.name, row.input_size, row.classes) == ("leaf.onnx", (16, 16), 10)
    assert row.given is not None
    assert (row.given.input, row.given.output, row.given.batch) == ("image", "probs", None)


def test_what_nobody_says_is_not_guessed() -> None:
    """The error lists what is missing and the three ways to say it."""
    with pytest.raises(GivenError, match=r"nobody says .*\(mean, std.*filter\).*leaf\.toml"):
        preprocess(described(), Said())
    with pytest.raises(GivenError, match=r"\(resize, filter\)"):
        preprocess(described(), Said(preset="tf"))


@pytest.mark.parametrize(
    ("name", "white"), [("torch", 2.2489083), ("tf", 1.0), ("unit", 1.0), ("bytes", 255.0)]
)
def test_a_preset_says_what_pixels_become(name: str, white: float) -> None:
    """White in the first channel, by the definitions of keras.applications."""
    from PIL import Image

    found = preprocess(described(), Said(preset=name, resize="squash", filter="bilinear"))
    assert found(Image.new("RGB", (20, 20), "white"))[0, 0, 0] == pytest.approx(white)


def test_caffe_takes_blue_first() -> None:
    """The preset that Keras calls caffe: BGR, means in bytes, no division."""
    from PIL import Image

    found = preprocess(described(), Said(preset="caffe", resize="squash", filter="bilinear"))
    pixel = found(Image.new("RGB", (20, 20), (10, 20, 30)))[0, 0]
    assert pixel == pytest.approx([30 - 103.939, 20 - 116.779, 10 - 123.68], abs=1e-3)


def test_a_preset_of_another_order_is_refused() -> None:
    """Its mean would be taken from the wrong channels, unless somebody says the mean as well."""
    said = replace(TOLD, channel_order="BGR")
    with pytest.raises(GivenError, match="mean and std in the order RGB, and --channel-order is B"):
        preprocess(described(), said)
    blue_first = (0.406, 0.456, 0.485)
    with pytest.raises(GivenError, match="say --std in that order"):
        preprocess(described(), replace(said, mean=blue_first))
    assert preprocess(described(), replace(said, mean=blue_first, std=(0.2,) * 3)).mean[0] == 0.406
    assert preprocess(described(), replace(said, preset="tf")).channel_order == "BGR"
    assert preprocess(described(), replace(said, preset="caffe")).channel_order == "BGR"


def test_flags_go_before_the_file_beside_before_metadata() -> None:
    """Each says what the one before it left open."""
    own = Preprocess((16, 16), layout="NHWC", filter="lanczos").to_json()
    row = described(metadata={"deploybench.preprocess": own})
    assert preprocess(row, Said()).filter == "lanczos"
    assert preprocess(row, Said(), Said(filter="nearest")).filter == "nearest"
    found = preprocess(row, Said(filter="bicubic"), Said(filter="nearest", mean=(0.0, 0.0, 0.0)))
    assert (found.filter, found.mean) == ("bicubic", (0.0, 0.0, 0.0))


def test_a_preset_in_a_flag_is_not_mixed_with_the_file_beside() -> None:
    """Who says --preset tf means its mean, and not the one of the TOML file."""
    beside = Said(mean=(0.5,) * 3, std=(0.5,) * 3, resize="squash", filter="bilinear")
    assert preprocess(described(), Said(preset="tf"), beside).mean == (1.0, 1.0, 1.0)


def test_what_an_image_is_resized_to_before_a_crop_is_not_guessed() -> None:
    """Most networks took 256 pixels and not those that just cover: 0 says that in so many words."""
    crop = Said(preset="torch", resize="crop", filter="bilinear")
    with pytest.raises(GivenError, match=r"\(first\).* --first \(pixels .*or 0: it just covers"):
        preprocess(described(), crop)
    assert preprocess(described(), replace(crop, first=20)).first == 20
    assert preprocess(described(), replace(crop, first=0)).first is None
    own = Preprocess((16, 16), resize="crop", layout="NHWC").to_json()
    assert preprocess(described(metadata={"deploybench.preprocess": own}), Said()).first is None
    assert preprocess(described(), TOLD).first is None


def test_a_resize_in_a_flag_replaces_what_comes_first() -> None:
    """A squash is no squash to the crop's 256 pixels and then another one."""
    beside = Said(preset="torch", resize="crop", first=20, filter="bilinear")
    own = Preprocess((16, 16), first=20, resize="crop", layout="NHWC").to_json()
    row = described(metadata={"deploybench.preprocess": own})
    for found in (
        preprocess(described(), Said(resize="squash"), beside),
        preprocess(row, Said(resize="squash")),
        preprocess(row, Said(), Said(resize="squash")),
    ):
        assert (found.resize, found.first) == ("squash", None)
    assert preprocess(described(), Said(first=18), beside).first == 18
    with pytest.raises(GivenError, match=r"\(first\)"):
        preprocess(row, Said(resize="crop"))


def test_the_layout_is_read_from_the_shape_where_that_leaves_no_doubt() -> None:
    """Three channels stand first or last; where both or none could be, somebody has to say."""
    assert preprocess(described()).layout == "NHWC"
    first = described(inputs=(Port("x", "float", (1, 3, 16, 16)),))
    assert preprocess(first).layout == "NCHW"
    both = described(inputs=(Port("x", "float", (1, 3, 16, 3)),))
    with pytest.raises(GivenError, match="1 x 3 x 16 x 3 may be NCHW or NHWC"):
        preprocess(both)
    with pytest.raises(GivenError, match="is not NCHW with 3 channels"):
        preprocess(described(), Said(preset="tf", resize="squash", filter="box", layout="NCHW"))


def test_an_open_size_has_to_be_said_and_a_fixed_one_agreed_with() -> None:
    """Which size an open graph is measured at decides every number."""
    free = described(inputs=(Port("x", "float", (None, 3, None, None)),))
    with pytest.raises(GivenError, match="images of any height: say with --size"):
        preprocess(free)
    said = Said(preset="torch", resize="squash", filter="bilinear", size=(20, 30))
    assert preprocess(free, said).size == (20, 30)
    with pytest.raises(GivenError, match="of height 16 only, and not of 20"):
        preprocess(described(), said)


def test_grey_is_one_channel() -> None:
    """A network for digits takes one, and says so in its shape."""
    row = described(inputs=(Port("x", "float", (None, 1, 28, 28)),))
    said = Said(
        mean=(0.1,), std=(0.3,), scale=1 / 255, channel_order="GREY", resize="squash", filter="box"
    )
    with pytest.raises(GivenError, match="filter is 'box'"):
        preprocess(row, said)
    found = preprocess(row, Said(**{**vars(said), "filter": "bilinear"}))
    assert found.shape == (1, 28, 28)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"inputs": ()}, r"has 0 inputs \(none\)"),
        ({"inputs": (Port("a", "float", (1, 3, 8, 8)),) * 2}, r"has 2 inputs \(a, a\)"),
        ({"inputs": (Port("a", "float", None),)}, "its input 'a' has no shape"),
        ({"inputs": (Port("a", "float", (1, 10)),)}, "has the shape 1 x 10; batches of images"),
        (
            {"outputs": (Port("p", "float", (1, 5)), Port("q", "float", (1, 5)))},
            "say with --output",
        ),
        ({"outputs": (Port("p", "float", (1, 5, 7, 7)),)}, "has the shape 1 x 5 x 7 x 7"),
        ({"outputs": (Port("p", "float", (None, None)),)}, r"has the shape \? x \?"),
    ],
)
def test_what_is_no_image_classifier_is_refused(changes: dict[str, Any], message: str) -> None:
    """One batch of images in, a number for each class out."""
    with pytest.raises(GivenError, match=message):
        variant(described(**changes), TOLD, Said())


def test_one_of_several_outputs_can_be_chosen() -> None:
    """By its name; another name is told those that there are."""
    row = described(outputs=(Port("p", "float", (1, 5)), Port("q", "float", (1, 4, 1, 1))))
    assert variant(row, Said(**{**vars(TOLD), "output": "q"}), Said()).classes == 4
    with pytest.raises(GivenError, match="has no output 'r'; it has p, q"):
        variant(row, Said(**{**vars(TOLD), "output": "r"}), Said())


# --- class names


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(NAMES),
        json.dumps({str(number): name for number, name in enumerate(NAMES)}),
        str(dict(enumerate(NAMES))),
    ],
)
def test_class_names_are_found_as_tools_write_them(text: str) -> None:
    """A JSON list, JSON numbers to names, and the Python dict that a well-known exporter writes."""
    row = variant(described(metadata={"names": text}), TOLD, Said())
    assert row.given is not None
    assert row.given.class_names == NAMES


def test_made_up_names_are_no_names() -> None:
    """A file of ours with seeded weights says that its names are placeholders."""
    metadata = {
        "deploybench.class_names": json.dumps(NAMES),
        "deploybench.class_names_are_placeholders": "true",
    }
    row = variant(described(metadata=metadata), TOLD, Said())
    assert row.given is not None
    assert row.given.class_names == ()


def test_class_names_from_a_file(tmp_path: Path) -> None:
    """A line each, or JSON; relative to the TOML file that names it."""
    (tmp_path / "names.txt").write_text("\n".join(NAMES) + "\n\n")
    (tmp_path / "leaf.toml").write_text('class-names = "names.txt"\n')
    beside = settings_beside(tmp_path / "leaf.onnx")
    row = variant(described(), TOLD, beside)
    assert row.given is not None
    assert row.given.class_names == NAMES
    (tmp_path / "names.json").write_text('{"a": 1}')
    with pytest.raises(GivenError, match="neither a JSON list"):
        variant(
            described(), Said(**{**vars(TOLD), "class_names": str(tmp_path / "names.json")}), Said()
        )
    (tmp_path / "leaf.toml").write_text('class-names = "../names.txt"\n')
    with pytest.raises(GivenError, match="should be the name of a file beside it"):
        settings_beside(tmp_path / "leaf.onnx")
    with pytest.raises(GivenError, match="this is no regular file"):
        variant(described(), Said(**{**vars(TOLD), "class_names": "/dev/zero"}), Said())
    with pytest.raises(GivenError, match="can't be read"):
        variant(described(), Said(**{**vars(TOLD), "class_names": str(tmp_path / "no")}), Said())


def test_names_that_differ_are_an_error_with_both_sides() -> None:
    """Of two lists one is wrong, and nobody can tell which."""
    row = described(metadata={"classes": json.dumps(NAMES)})
    other = Said(class_names=(*NAMES[:9], "moss"))
    with pytest.raises(GivenError, match=r"leaf\.toml says leaf 0.*leaf\.onnx has leaf 9"):
        variant(row, TOLD, other)
    turned = Said(class_names=NAMES[::-1])
    with pytest.raises(GivenError, match="the same names in another order"):
        variant(row, TOLD, turned)
    with pytest.raises(GivenError, match=r"has 9 class names .* and /models/leaf.onnx 10 outputs"):
        variant(described(), TOLD, Said(class_names=NAMES[:9]))
    with pytest.raises(GivenError, match="names the class 'leaf 0' twice"):
        variant(described(), TOLD, Said(class_names=(*NAMES[:9], "leaf 0")))


# --- the TOML file


def test_no_file_beside_says_nothing(tmp_path: Path) -> None:
    """It need not be there."""
    assert settings_beside(tmp_path / "leaf.onnx") == Said()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mean = [", "is not TOML"),
        ("mean = " + "[" * 5000, "is not TOML"),
        ("means = [1, 2, 3]", "'means' is unknown; known are preset"),
        ('mean = "grey"', "mean 'grey'"),
        ('preset = "keras"', "preset is 'keras'; known are torch, tf"),
    ],
)
def test_a_file_beside_that_is_wrong_is_named(tmp_path: Path, text: str, message: str) -> None:
    """With the value and what would be right."""
    (tmp_path / "leaf.toml").write_text(text)
    with pytest.raises(GivenError, match=message):
        settings_beside(tmp_path / "leaf.onnx")


def test_flags_are_checked_as_the_file_is() -> None:
    """One piece of code for both."""
    with pytest.raises(GivenError, match="flags: resize is 'stretch'; known are squash, crop"):
        checked({"resize": "stretch"}, "flags")


# --- chains


def test_a_given_file_needs_no_module() -> None:
    """Its chains are those that can begin with an .onnx file, with the copy in its place."""
    assert chains_of(RECIPES["fp32"], given=True) == {
        "onnx": ("adopt",),
        "ncnn": ("adopt", "onnx-to-ncnn"),
        "mnn": ("adopt", "to-mnn"),
    }
    assert chains_of(RECIPES["fp32"], given=False) == RECIPES["fp32"].chains


def test_the_reference_of_a_given_file_is_made_from_its_copy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nobody has its module: what it answers without optimisation is what counts."""
    monkeypatch.setattr("export.variants.VARIANTS", dict(VARIANTS))
    row = variant(described(), TOLD, Said())
    monkeypatch.setitem(VARIANTS, row.name, row)
    context = Context(Options(), data_key="images")
    reference, copy = chain(Wanted(row.name, "fp32", "onnx"), context)
    assert (reference.step, reference.source, copy.step) == ("reference", copy, "adopt")
    assert copy.reference == reference.key
    assert copy.recipe == "fp32"
    *_, last = chain(Wanted(row.name, "int8-static", "onnx"), context)
    assert (last.step, last.recipe, last.reference) == (
        "quantize-static",
        "int8-static",
        reference.key,
    )


def test_two_models_of_one_name_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their rows could not be told apart; the same one twice is no harm."""
    monkeypatch.setattr("export.variants.VARIANTS", dict(VARIANTS))
    row = variant(described(), TOLD, Said())
    register([row, row])
    with pytest.raises(ValueError, match=r"two models are called leaf\.onnx"):
        register([variant(described(sha256="6b" * 32), TOLD, Said())])
