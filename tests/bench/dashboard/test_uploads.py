"""What is taken of a file, and what is refused before anything is decoded."""

from __future__ import annotations

import asyncio
import io
import struct
import zipfile
import zlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from bench import labelled
from bench.dashboard import measuring, uploads
from bench.dashboard.uploads import Refused
from bench.record import Labelled
from bench.worker import Session, answer, packed
from export.images import ImageFolder, Preprocess
from runtimes import Loaded
from tests.bench.dashboard.conftest import PREPROCESS, RED, file_of

MOST_PIXELS = 1_000_000
CROPPED = Preprocess((24, 20), first=26, resize="crop", filter="bicubic")


def refused(content: bytes) -> Refused:
    """Why a file is not taken."""
    with pytest.raises(Refused) as caught:
        uploads.taken(content, [PREPROCESS], MOST_PIXELS)
    return caught.value


def png_of(width: int, height: int) -> bytes:
    """A PNG whose header claims that size, with next to nothing behind it."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = zlib.compress(b"\0" * 1000)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    )


def photograph(orientation: int = 1) -> bytes:
    """A JPEG of noise with EXIF data, its top half darker."""
    pixels = np.random.default_rng(1).integers(0, 255, (60, 80, 3), dtype=np.uint8)
    pixels[:30] //= 4
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010E] = "a secret place"
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", exif=exif, comment=b"a secret word")
    return buffer.getvalue()


def by_run(folder: Path, preprocess: Preprocess) -> NDArray[np.float32]:
    """What a network gets of the only image of a data folder: written and read as a run does.

    ``bench.labelled`` resizes it into its cache, of which a child is asked to classify.
    """
    data = ImageFolder.open(folder)
    facts = Labelled("data", "test", data.fingerprint(data.entries()), data.class_names, (0,))
    images = labelled.Images(data, tuple(data.entries()), facts)
    question = labelled.Question(images, preprocess, (0,), True, folder.parent / "pixels")
    labelled.prepare([question], lambda text: None)
    return given_to_the_network({**question.message(1)}, question.preprocess.size)


def by_page(content: bytes, preprocess: Preprocess) -> NDArray[np.float32]:
    """The same of an upload, by what the page sends to its child."""
    text = preprocess.to_json()
    picture = uploads.taken(content, [text], MOST_PIXELS)
    pixels = packed(measuring.prepared(picture, text))
    return given_to_the_network({"do": "picture", "pixels": pixels}, preprocess.size)


def given_to_the_network(message: dict[str, Any], size: tuple[int, int]) -> NDArray[np.float32]:
    """What a child hands to its runtime when it gets this message."""
    seen: list[NDArray[np.float32]] = []

    def run(images: NDArray[np.float32]) -> NDArray[np.float32]:
        seen.append(np.array(images))
        return np.zeros((len(images), 1), np.float32)

    session = Session()
    session.loaded = Loaded(run, "fp32")
    session.batches = [np.zeros((1, 3, *size), np.float32)]
    said = answer(session, message)
    assert said["status"] == "ok", said
    (found,) = seen
    return found


@pytest.mark.parametrize("preprocess", [Preprocess((32, 32)), CROPPED])
@pytest.mark.parametrize("orientation", [1, 6])
def test_a_child_gets_the_very_array_that_a_run_gives_it(
    tmp_path: Path, preprocess: Preprocess, orientation: int
) -> None:
    """From the same file, by way of a data folder and of an upload: equal bit by bit."""
    content = photograph(orientation)
    (tmp_path / "data" / "leaf").mkdir(parents=True)
    (tmp_path / "data" / "leaf" / "one.jpg").write_bytes(content)
    ours, theirs = by_page(content, preprocess), by_run(tmp_path / "data", preprocess)
    assert ours.dtype == theirs.dtype == np.float32
    assert np.array_equal(ours, theirs)


def test_pictures_stand_upright_and_tell_nothing_else() -> None:
    """The EXIF orientation is heeded; of the rest of the metadata nothing is kept."""
    picture = uploads.taken(photograph(6), [PREPROCESS], MOST_PIXELS)
    assert (picture.width, picture.height) == (60, 80)
    small = Image.open(io.BytesIO(picture.thumbnail))
    assert small.size == (60, 80)
    assert not small.getexif()
    assert b"secret" not in picture.thumbnail
    # Turned by 90 degrees clockwise: what was the dark top is the right side now.
    grey = np.asarray(small.convert("L"), dtype=float)
    assert grey[:, :25].mean() > 1.5 * grey[:, 35:].mean()


def test_a_bomb_is_refused_from_its_header() -> None:
    """50,000 x 50,000 pixels are never decoded, nor is anything above our own limit."""
    found = refused(png_of(50_000, 50_000))
    assert found.status == 413
    assert "pixels" in found.reason
    found = refused(png_of(1001, 1000))
    assert found.status == 413
    assert "1001 x 1000 pixels, more than 1 million" in found.reason


def test_a_sliver_is_refused() -> None:
    """Cropping would blow up its longer side."""
    found = refused(file_of(RED, (600, 4)))
    assert found.status == 422
    assert "50 times" in found.reason


def test_a_damaged_picture_is_said_to_be_damaged() -> None:
    """A JPEG that was cut off, and a PNG whose rows are missing."""
    for content in (photograph()[:1500], png_of(100, 100)):
        found = refused(content)
        assert found.status == 422
        assert "damaged or cut off" in found.reason


def zipped() -> bytes:
    """A zip that holds a picture."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("picture.png", file_of(RED))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (zipped(), "a zip archive"),
        (
            b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"></svg>',
            "an SVG drawing",
        ),
        (b"<svg onload='alert(1)'/>", "an SVG drawing"),
        (b"%PDF-1.7 ...", "a PDF"),
        (b"\0\0\0\x18ftypheic....", "a HEIC, AVIF or video file"),
        (b"not a picture at all", "an unknown file"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "an unknown file"),
    ],
)
def test_what_is_no_picture_is_called_what_it_is(content: bytes, words: str) -> None:
    """By its first bytes; and a format that starts other programs (EPS) is none of ours."""
    found = refused(content)
    assert found.status == 415
    assert found.reason.startswith(f"this is {words}")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"])
def test_usual_formats_are_taken(kind: str) -> None:
    """All that ``export.images`` reads."""
    picture = uploads.taken(file_of(RED, kind=kind), [PREPROCESS], MOST_PIXELS)
    red, green, blue = picture.pixels[PREPROCESS].reshape(-1, 3).mean(axis=0)
    assert red > 180
    assert max(green, blue) < 60


def test_a_long_body_is_cut_off_early() -> None:
    """After the chunk that is too much nothing more is read; a declared length is believed."""
    read = 0

    async def chunks() -> AsyncIterator[bytes]:
        nonlocal read
        for _ in range(1000):
            read += 1
            yield bytes(1000)

    with pytest.raises(Refused) as caught:
        asyncio.run(uploads.limited(chunks(), None, 5000))
    assert (caught.value.status, read) == (413, 6)
    with pytest.raises(Refused, match="larger than"):
        asyncio.run(uploads.limited(chunks(), "5001", 5000))
    assert read == 6
    with pytest.raises(Refused, match="no body"):
        asyncio.run(uploads.limited(_nothing(), "0", 5000))


async def _nothing() -> AsyncIterator[bytes]:
    for chunk in list[bytes]():
        yield chunk


def test_samples_are_pictures() -> None:
    """At least the one that is drawn, which needs no other package."""
    found = uploads.samples()
    assert "drawn" in found
    picture = uploads.kept(found["drawn"], [PREPROCESS], "drawn")
    assert picture.sample == "drawn"
    assert picture.pixels[PREPROCESS].std() > 10
