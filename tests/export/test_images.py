from __future__ import annotations

import dataclasses
import io
import json
import subprocess
import sys
import zipfile
from itertools import chain, pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from export import images
from export.images import (
    ImageFolder,
    ImagesError,
    Preprocess,
    crops,
    decode,
    sample_photographs,
    spread,
)


def picture(colour: tuple[int, int, int] = (255, 0, 0), size: tuple[int, int] = (8, 6)) -> bytes:
    """A PNG of one colour, ``size`` = (width, height)."""
    sink = io.BytesIO()
    Image.new("RGB", size, colour).save(sink, "PNG")
    return sink.getvalue()


def directory(root: Path, names: list[str]) -> Path:
    """A folder with an image of another red under each name."""
    for i, name in enumerate(names):
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(picture((i % 256, 0, 0)))
    return root


def archive(file: Path, names: list[str]) -> Path:
    """A zip with an image of another red under each name."""
    with zipfile.ZipFile(file, "w") as sink:
        for i, name in enumerate(names):
            sink.writestr(name, picture((i % 256, 0, 0)))
    return file


FLAT = ["lily/1.png", "rose/1.png", "rose/2.jpg"]
SPLIT = [f"{split}/{name}" for split in ("val", "train") for name in FLAT]


@pytest.fixture(params=["directory", "zip"])
def make(request, tmp_path):
    """``make(names)``: an ImageFolder's path, once as a directory and once as a zip."""
    if request.param == "zip":
        return lambda names: archive(tmp_path / "data.zip", names)
    return lambda names: directory(tmp_path / "data", names)


def test_preprocess_normalises():
    """Values are scaled to 0..1, less the mean, over the std; channels come first."""
    array = Preprocess((4, 5), mean=(0.5, 0.0, 0.25), std=(0.5, 1.0, 2.0))(
        Image.new("RGB", (9, 9), (255, 51, 0))
    )
    assert array.shape == (3, 4, 5)
    assert array.dtype == np.float32
    assert np.allclose(array[:, 0, 0], [1.0, 0.2, -0.125])


def test_preprocess_averages_when_it_shrinks():
    """Bilinear shrinking uses all source pixels: a fine checkerboard becomes grey."""
    board = np.indices((64, 64)).sum(axis=0) % 2 * 255
    image = Image.fromarray(board.astype(np.uint8))
    array = Preprocess((8, 8), mean=(0, 0, 0), std=(1, 1, 1))(image)
    assert np.allclose(array, 0.5, atol=0.05)


def test_preprocess_first():
    """``first`` inserts a squash to that square before the final one."""
    photograph = sample_photographs()[0]
    twice = Preprocess((32, 48), first=64)(photograph)
    square = photograph.resize((64, 64), Image.Resampling.BILINEAR)
    assert np.array_equal(twice, Preprocess((32, 48))(square))
    assert not np.array_equal(twice, Preprocess((32, 48))(photograph))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "YCbCr", "I;16", "F"])
def test_preprocess_any_mode(mode):
    """Whatever the mode of an image, it becomes three channels of finite numbers."""
    array = Preprocess((4, 4))(Image.new(mode, (6, 6)))
    assert array.shape == (3, 4, 4)
    assert np.isfinite(array).all()


def test_sixteen_bit_grey():
    """16-bit grey is scaled: half of its range is not clipped to white."""
    half = Image.fromarray(np.full((4, 4), 32768, np.uint16))
    assert np.asarray(images.as_rgb(half)).tolist() == [[[127] * 3] * 4] * 4


def test_exif_orientation():
    """An image that says it lies on its side is turned before anything else."""
    left_red = Image.new("RGB", (4, 2), (0, 0, 0))
    left_red.paste((255, 0, 0), (0, 0, 2, 2))
    left_red.getexif()[0x0112] = 6  # to be turned clockwise
    upright = images.as_rgb(left_red)
    assert upright.size == (2, 4)
    assert upright.getpixel((0, 0)) == (255, 0, 0)
    assert upright.getpixel((0, 3)) == (0, 0, 0)


def test_batch():
    """A batch is its images stacked; none give no rows."""
    preprocess = Preprocess((4, 4))
    pair = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    assert np.array_equal(preprocess.batch(pair)[1], preprocess(pair[1]))
    assert preprocess.batch([]).shape == (0, 3, 4, 4)


def test_preprocess_crops_the_middle():
    """The shorter side to ``first``, then the middle: as torchvision's Resize and CenterCrop."""
    ramp = np.tile(np.arange(80, dtype=np.uint8), (40, 1))
    image = Image.fromarray(np.stack([ramp] * 3, axis=-1))
    crop = Preprocess((20, 20), first=40, resize="crop", filter="nearest")
    assert np.array_equal(crop.pixels(image)[0, :, 0], np.arange(30, 50))
    # 80 x 40 with the shorter side at 25 is 50 x 25; the corner (15, 2) is rounded half to even.
    smaller = Preprocess((20, 20), first=25, resize="crop", filter="nearest")
    resized = np.asarray(image.resize((50, 25), Image.Resampling.NEAREST))
    assert np.array_equal(smaller.pixels(image), resized[2:22, 15:35])


@pytest.mark.parametrize("sides", [(7, 90), (90, 7), (33, 33), (64, 48)])
def test_preprocess_crops_to_any_size(sides):
    """Without ``first`` the image just covers what is cropped out of it, whatever its shape."""
    image = Image.new("RGB", sides, "red")
    for size in ((20, 30), (30, 20), (25, 25)):
        assert Preprocess(size, resize="crop").pixels(image).shape == (*size, 3)


def test_preprocess_a_crop_that_is_larger_than_the_image():
    """``first`` may be enough for one side and too little for the other."""
    crop = Preprocess((20, 60), first=30, resize="crop")
    with pytest.raises(ValueError, match="becomes 30 x 30, out of which 60 x 20"):
        crop.pixels(Image.new("RGB", (50, 50)))


def test_preprocess_layouts_and_channels():
    """Channels last, blue first and grey are other orders of the same numbers."""
    image = Image.fromarray(np.arange(48, dtype=np.uint8).reshape(4, 4, 3))
    plain = Preprocess((4, 4), mean=(0.0,) * 3, std=(1.0,) * 3, scale=1.0)
    first = plain(image)
    last = dataclasses.replace(plain, layout="NHWC")(image)
    blue = dataclasses.replace(plain, channel_order="BGR")(image)
    assert np.array_equal(last, first.transpose(1, 2, 0))
    assert np.array_equal(blue, first[::-1])
    grey = Preprocess((4, 4), mean=(0.0,), std=(1.0,), scale=1.0, channel_order="GREY")
    assert grey.shape == grey(image).shape == (1, 4, 4)
    assert np.array_equal(grey(image)[0], np.asarray(image.convert("L")))


def test_preprocess_json_round_trip():
    """What stands in a file's metadata gives an equal Preprocess again."""
    preprocess = Preprocess((224, 160), first=256, mean=(0.1, 0.2, 0.3), filter="bicubic")
    assert Preprocess.from_json(preprocess.to_json()) == preprocess


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"crop": 1}, "crop"),
        ({"size": [224]}, "size"),
        ({"size": [0, 224]}, "size"),
        ({"size": [224.5, 224]}, "size"),
        ({"mean": "0.5"}, "mean"),
        ({"std": [1, 1, 0]}, "std"),
        ({"filter": "magic"}, "filter"),
        ({"layout": "CHWN"}, "layout"),
        ({"resize": "pad"}, "resize"),
        ({"channel_order": "GREY"}, "mean must be 1"),
        ({"resize": "crop", "first": 200}, "can't be cropped out"),
        ({"scale": None}, "scale"),
        ({"first": True}, "first"),
    ],
)
def test_preprocess_json_is_strict(change, message):
    """A field that is unknown, of another type or out of range is refused by its name."""
    fields = {**dataclasses.asdict(Preprocess((224, 224))), **change}
    with pytest.raises(ValueError, match=message):
        Preprocess.from_json(json.dumps(fields))


def test_preprocess_json_without_a_field():
    """A missing field is no default: the writer may have meant another one."""
    with pytest.raises(ValueError, match="std"):
        Preprocess.from_json('{"size": [2, 2]}')


def test_splits_and_classes(make):
    """Train, val and test levels are found; labels are the positions of sorted class names."""
    folder = ImageFolder.open(make(SPLIT))
    assert folder.splits == ("train", "val")
    assert folder.class_names == ("lily", "rose")
    assert folder.entries("val") == [
        ("val/lily/1.png", 0),
        ("val/rose/1.png", 1),
        ("val/rose/2.jpg", 1),
    ]
    assert len(folder.entries()) == 6


def test_classes_without_splits(make):
    """Class folders alone are one split called all."""
    folder = ImageFolder.open(make(FLAT))
    assert folder.splits == ("all",)
    assert [label for _, label in folder.entries("all")] == [0, 1, 1]


def test_two_names_for_one_split(make):
    """Neither val nor valid is dropped without a word: both are named."""
    with pytest.raises(ImagesError, match="has val/ and valid/, which both mean the validation"):
        ImageFolder.open(make([*SPLIT, "valid/rose/3.png", "test/rose/4.png"]))


def test_a_folder_around_it(make):
    """A single folder around the splits is looked through, as zips often have one."""
    folder = ImageFolder.open(make([f"flowers/{name}" for name in SPLIT]))
    assert folder.splits == ("train", "val")
    assert folder.class_names == ("lily", "rose")


def test_a_class_called_train(make):
    """A class may be called train, where others stand beside it."""
    assert ImageFolder.open(make(["bus/1.png", "train/1.png"])).class_names == ("bus", "train")


def test_other_files_are_ignored(make):
    """Only images count, and what systems leave about is none."""
    names = [*FLAT, "notes.txt", "__MACOSX/rose/._1.png", "rose/.hidden.png"]
    assert len(ImageFolder.open(make(names)).entries()) == 3


def test_read(make):
    """An image of an ending that lies is still read by what it holds, decoded whole."""
    folder = ImageFolder.open(make(FLAT))
    image = folder.read(folder.entries()[2])
    assert (image.mode, image.size) == ("RGB", (8, 6))
    assert image.getpixel((0, 0)) == (2, 0, 0)


def test_unknown_split(make):
    """A split that isn't there is refused, with those that are."""
    with pytest.raises(ImagesError, match="'test': it has train, val"):
        ImageFolder.open(make(SPLIT)).entries("test")


def test_nothing_there(tmp_path):
    """A missing path, a file that is no zip, and a folder without images: each says so."""
    with pytest.raises(ImagesError, match="doesn't exist"):
        ImageFolder.open(tmp_path / "nowhere")
    (tmp_path / "file.txt").write_text("no")
    with pytest.raises(ImagesError, match="neither a directory nor"):
        ImageFolder.open(tmp_path / "file.txt")
    with pytest.raises(ImagesError, match="no images"):
        ImageFolder.open(tmp_path)


@pytest.mark.parametrize("names", [["1.png"], ["1.png", *FLAT], ["train/1.png"], ["1.png", *SPLIT]])
def test_images_outside_of_class_folders(make, names):
    """Images that have no class are named, not guessed at."""
    with pytest.raises(ImagesError, match=r"outside of class folders: .*1\.png"):
        ImageFolder.open(make(names))


@pytest.mark.parametrize("name", ["../rose/1.png", "/rose/1.png", "rose/../../1.png", "C:/r/1.png"])
def test_zip_that_climbs_out(tmp_path, name):
    """A zip with a name that leads out of it is refused whole, by that name."""
    with pytest.raises(ImagesError, match="leads out of it"):
        ImageFolder.open(archive(tmp_path / "data.zip", [*FLAT, name]))


def test_truncated_zip(tmp_path):
    """A zip that was cut off is refused in a sentence."""
    file = archive(tmp_path / "data.zip", FLAT)
    file.write_bytes(file.read_bytes()[:-30])
    with pytest.raises(ImagesError, match="not a whole zip"):
        ImageFolder.open(file)


def test_encrypted_zip(tmp_path):
    """A zip with a password is refused: its images could not be read later."""
    file = archive(tmp_path / "data.zip", FLAT)
    content = bytearray(file.read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1  # the flag in its list of contents
    file.write_bytes(content)
    with pytest.raises(ImagesError, match="encrypted"):
        ImageFolder.open(file)


def test_zip_bomb(tmp_path, monkeypatch):
    """A member that unpacks to an absurd size is refused before it is unpacked."""
    monkeypatch.setattr(images, "MAX_FILE_BYTES", 1000)
    file = tmp_path / "data.zip"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as sink:
        sink.writestr("rose/1.png", bytes(100_000))
    with pytest.raises(ImagesError, match=r"rose/1\.png"):
        ImageFolder.open(file)


def test_too_many_pixels(make, monkeypatch):
    """An image of too many pixels is refused by its header, before it is decoded."""
    monkeypatch.setattr(images, "MAX_PIXELS", 40)
    folder = ImageFolder.open(make(FLAT))
    with pytest.raises(ImagesError, match="8 x 6 pixels"):
        folder.read(folder.entries()[0])


def damaged(root: Path, good: int, bad: int) -> ImageFolder:
    """A folder of whole and cut-off images."""
    directory(root, [f"rose/{i:03d}.png" for i in range(good + bad)])
    for i in range(bad):
        (root / f"rose/{i:03d}.png").write_bytes(picture()[:50])
    return ImageFolder.open(root)


def test_a_few_unreadable_images_are_skipped(tmp_path):
    """One damaged image among many is left out, and named."""
    folder = damaged(tmp_path, good=9, bad=1)
    loaded = folder.load(folder.entries())
    assert loaded.skipped == ["rose/000.png"]
    assert len(loaded.images) == len(loaded.entries) == 9


def test_no_more_images_are_decoded_than_are_wanted(tmp_path):
    """The damaged one costs one more; the rest of the folder stays unread."""
    folder = damaged(tmp_path, good=19, bad=1)
    loaded = folder.load(folder.entries(), 5)
    assert loaded.skipped == ["rose/000.png"]
    assert [entry.name for entry in loaded.entries] == [f"rose/{i:03d}.png" for i in range(1, 6)]


@pytest.mark.parametrize(("good", "bad"), [(8, 1), (0, 2)])
def test_many_unreadable_images_are_refused(tmp_path, good, bad):
    """More than a tenth damaged, or all, is no data: their names are given."""
    folder = damaged(tmp_path, good, bad)
    with pytest.raises(ImagesError, match=rf"{bad} of {good + bad} images .*rose/000\.png"):
        folder.load(folder.entries())


def test_sample_is_spread_over_the_classes(make):
    """No class gives a second image before each gave one; what is short is used up."""
    names = [f"{kind}/{i}.png" for kind, n in (("a", 9), ("b", 9), ("c", 1)) for i in range(n)]
    folder = ImageFolder.open(make(names))
    labels = [entry.label for entry in spread(folder.entries(), 7, seed=0)]
    assert sorted(labels) == [0, 0, 0, 1, 1, 1, 2]
    assert len(spread(folder.entries(), 100, seed=0)) == 19


def test_sample_is_seeded(make):
    """The same seed takes the same images, another one others."""
    folder = ImageFolder.open(make([f"rose/{i}.png" for i in range(40)]))
    assert spread(folder.entries(), 10, seed=1) == spread(folder.entries(), 10, seed=1)
    assert spread(folder.entries(), 10, seed=1) != spread(folder.entries(), 10, seed=2)


def numbered(splits: str, count: int) -> list[str]:
    """``count`` numbered images of two classes in each of the levels."""
    levels = [f"{split}/" for split in splits.split()] or [""]
    return [f"{x}{kind}/leaf_{i}.png" for x in levels for kind in "ab" for i in range(count)]


def numbers(entries) -> list[int]:
    """The numbers in the names, in order, of the first class."""
    found = (entry.name.rpartition("_")[2] for entry in entries if entry.label == 0)
    return sorted(int(text.removesuffix(".png")) for text in found)


def test_parts_of_a_folder_with_all_levels(make):
    """Who has divided the images has done it: nothing is taken from one level for another."""
    folder = ImageFolder.open(make(numbered("train valid test", 20)))
    assert folder.part("val") == folder.entries("valid")
    assert folder.part("train") == folder.entries("train")
    assert folder.part("test") == folder.entries("test")


@pytest.mark.parametrize("beside", ["val", "test"])
def test_parts_of_a_folder_with_two_levels(make, beside):
    """What stands beside train is for the last look; what decides before comes out of train."""
    folder = ImageFolder.open(make(numbered(f"train {beside}", 100)))
    assert folder.part("test") == folder.entries(beside)
    train, val = folder.part("train"), folder.part("val")
    assert sorted(train + val) == folder.entries("train")
    assert len(val) == 16  # of each class one block of eight


@pytest.mark.parametrize("splits", ["", "train", "test"])
def test_parts_of_a_folder_with_one_level(make, splits):
    """All images are divided in three, and no image stands in two parts."""
    folder = ImageFolder.open(make(numbered(splits, 100)))
    parts = [folder.part(name) for name in ("train", "val", "test")]
    assert [len(part) for part in parts] == [168, 16, 16]
    assert sorted(chain(*parts)) == folder.entries()


def test_a_part_is_made_of_whole_blocks(make):
    """Neighbours by number, not by text, stay together: they often show the same leaf."""
    found = numbers(ImageFolder.open(make(numbered("train val", 200))).part("val"))
    assert [found[i] % 8 for i in range(0, len(found), 8)] == [0, 0]
    assert all(b - a == 1 for i, (a, b) in enumerate(pairwise(found)) if i % 8 != 7)


def test_a_part_is_the_same_for_the_same_images(make):
    """Which images are set aside follows from the folder alone."""
    names = numbered("train val", 40)
    first, again = ImageFolder.open(make(names)), ImageFolder.open(make(names))
    assert first.part("val") == again.part("val")


def test_small_classes_are_divided_too(make):
    """Three images of a class are enough for three parts; a single one is learnt from."""
    folder = ImageFolder.open(make(["a/1.png", "a/2.png", "a/3.png", "b/1.png"]))
    labels = [[entry.label for entry in folder.part(x)] for x in ("train", "val", "test")]
    assert labels == [[0, 1], [0], [0]]


def test_a_class_missing_in_one_level(make):
    """Levels of different classes are no splits of the same data: both sides are named."""
    folder = ImageFolder.open(make(["train/a/1.png", "train/b/1.png", "val/a/1.png"]))
    with pytest.raises(ImagesError, match="images of 'b' in train, but none in val"):
        folder.part("train")


def test_levels_without_train(make):
    """Nothing may be learnt from images that are for judging."""
    folder = ImageFolder.open(make(["val/a/1.png", "test/a/1.png"]))
    with pytest.raises(ImagesError, match="has val, test, but no train"):
        folder.part("train")


def test_an_unknown_part(make):
    """There are three parts."""
    with pytest.raises(ValueError, match="'all' is no part"):
        ImageFolder.open(make(FLAT)).part("all")


def test_preprocess_in_two_halves():
    """Resized pixels can be kept as bytes: normalised later they are what one call gives."""
    preprocess = Preprocess((5, 7), first=9)
    image = decode(picture(size=(20, 30)))
    halves = preprocess.normalised(preprocess.pixels(image)[None])
    assert halves.shape == (1, 3, 5, 7)
    assert np.array_equal(halves[0], preprocess(image))


def test_fingerprint(make):
    """The fingerprint follows the entries' contents, not their order or when they were written."""
    folder = ImageFolder.open(make(FLAT))
    first = folder.fingerprint(folder.entries())
    assert first == folder.fingerprint(folder.entries()[::-1])
    assert first != folder.fingerprint(folder.entries()[:2])
    again = ImageFolder.open(make(FLAT))
    assert first == again.fingerprint(again.entries())
    other = ImageFolder.open(make(FLAT[::-1]))  # the same names, other colours
    assert first != other.fingerprint(other.entries())


def test_fingerprint_of_a_link_to_nowhere(tmp_path):
    """A file that isn't there has no contents: it is named, with what to do."""
    directory(tmp_path, FLAT)
    (tmp_path / "rose/3.png").symlink_to(tmp_path / "gone.png")
    folder = ImageFolder.open(tmp_path)
    with pytest.raises(ImagesError, match=r"rose/3\.png in .* can't be read .*take it out"):
        folder.fingerprint(folder.entries())


def test_nothing_is_extracted(tmp_path):
    """Reading a zip writes nothing to disk."""
    folder = ImageFolder.open(archive(tmp_path / "data.zip", FLAT))
    folder.load(folder.entries())
    assert [file.name for file in tmp_path.iterdir()] == ["data.zip"]


def test_crops():
    """Crops are square, of many sizes, and the same for the same seed."""
    photographs = sample_photographs()
    found = crops(photographs, 12, seed=3)
    sides = [image.size for image in found]
    assert all(width == height and 106 <= width <= 427 for width, height in sides)
    assert len(set(sides)) > 6
    again = crops(photographs, 12, seed=3)
    assert [image.tobytes() for image in found] == [image.tobytes() for image in again]
    assert sides != [image.size for image in crops(photographs, 12, seed=4)]


def test_sample_photographs_are_real():
    """Two photographs, RGB, with many colours; their fingerprint is stable."""
    photographs = sample_photographs()
    assert [image.size for image in photographs] == [(640, 427)] * 2
    assert all(len(image.getcolors(1 << 24) or []) > 10_000 for image in photographs)
    assert images.sample_photographs_fingerprint() == images.sample_photographs_fingerprint()


def test_sample_photographs_missing(monkeypatch):
    """Without scikit-learn the remedy is named."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImagesError, match="pip install scikit-learn.*--data"):
        sample_photographs()


def test_pure():
    """The module imports neither scikit-learn nor torch, not even for the photographs."""
    code = (
        "import sys; from export.images import sample_photographs; sample_photographs(); "
        "assert not {'sklearn', 'torch', 'onnx', 'scipy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
