"""From bytes that somebody sent to a picture: limits first, decoding after, nothing on a disk.

What is kept of a picture are the pixels that the offered networks take, resized by the same
``Preprocess`` as everywhere, and a small copy to look at: the file itself, and whatever its
metadata tell, are dropped.
"""

from __future__ import annotations

import io
import secrets
import warnings
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from export.images import ImagesError, Preprocess, decode, sample_photographs

UPLOAD_LIMIT_S = 60.0
"""A sender that is slower than this is cut off: it would keep others from sending."""
THUMBNAIL_PIXELS = 384
"""The longer side of the copy that the page shows."""
MOST_STRETCHED = 50
"""So many times longer than wide a picture may be: cropping resizes the shorter side."""
_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
_TAKEN = "send a JPEG, PNG, WebP, GIF, BMP or TIFF file"
_MAGIC: tuple[tuple[int, bytes, str], ...] = (
    (0, b"PK\x03\x04", "a zip archive"),
    (0, b"%PDF", "a PDF"),
    (0, b"\x1f\x8b", "a gzip archive"),
    (4, b"ftyp", "a HEIC, AVIF or video file"),
    (0, b"GGUF", "a model file"),
)
"""Offset, first bytes, what it is: only to say so."""


class Refused(Exception):
    """A picture that is not taken: the HTTP status, and what to do instead."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


@dataclass(frozen=True, eq=False)
class Picture:
    """What is left of an upload.

    ``pixels`` maps the JSON of a ``Preprocess`` to uint8 (height, width, channels);
    ``thumbnail`` is a JPEG; ``width`` and ``height`` are the upload's, upright.
    """

    id: str
    width: int
    height: int
    thumbnail: bytes
    pixels: Mapping[str, NDArray[np.uint8]]
    sample: str = ""

    @property
    def size_bytes(self) -> int:
        """What it takes in memory."""
        return len(self.thumbnail) + sum(array.nbytes for array in self.pixels.values())


async def limited(chunks: AsyncIterator[bytes], declared: str | None, most_bytes: int) -> bytes:
    """The body of a request, given up as soon as it is known to be too long.

    ``declared`` is its Content-Length, if it has one. Raises :class:`Refused`.
    """
    if declared is not None and declared.isdecimal() and int(declared) > most_bytes:
        raise _too_long(most_bytes)
    body = bytearray()
    async for chunk in chunks:
        body += chunk
        if len(body) > most_bytes:
            raise _too_long(most_bytes)
    if not body:
        raise Refused(400, f"the request has no body: {_TAKEN}")
    return bytes(body)


def _too_long(most_bytes: int) -> Refused:
    limit = f"{most_bytes / (1 << 20):.3g} MiB"
    return Refused(413, f"the file is larger than {limit}: send a smaller one (or --most-upload)")


def taken(
    content: bytes, preprocesses: Iterable[str], most_pixels: int, sample: str = ""
) -> Picture:
    """Decode a file and keep what is needed of it. Raises :class:`Refused`, which says why not.

    What it is follows from its first bytes, whatever it was called. The size is read from the
    header, and a picture with more than ``most_pixels`` is not decoded.
    """
    _check_size(*_header(content), most_pixels)
    try:
        with warnings.catch_warnings():
            # Our own limit, which was checked, is below the one that Pillow warns of.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = decode(content)
    except MemoryError:
        raise Refused(
            413, "there is no memory to decode this picture: send a smaller one"
        ) from None
    except Exception as exc:  # whatever a decoder raises on a damaged or hostile file
        raise Refused(
            422, f"the picture is damaged or cut off, and can't be decoded ({_short(exc)})"
        ) from exc
    return kept(image, preprocesses, sample)


def kept(image: Image.Image, preprocesses: Iterable[str], sample: str = "") -> Picture:
    """What is kept of a decoded picture, upright and RGB."""
    pixels = {
        text: Preprocess.from_json(text).pixels(image) for text in dict.fromkeys(preprocesses)
    }
    name = secrets.token_urlsafe(12)
    return Picture(name, image.width, image.height, thumbnail(image), pixels, sample)


def _header(content: bytes) -> tuple[int, int]:
    """Width and height, from the header alone."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(content), formats=_FORMATS) as image:
                return image.size
    except Image.DecompressionBombError as exc:
        raise Refused(413, f"the picture has far too many pixels ({_short(exc)})") from exc
    except Exception as exc:  # an unknown file, or a header that is none
        raise Refused(415, f"this is {_kind(content)}, and no picture: {_TAKEN}") from exc


def _check_size(width: int, height: int, most_pixels: int) -> None:
    if width * height > most_pixels:
        raise Refused(
            413,
            f"the picture has {width} x {height} pixels, more than {most_pixels / 1e6:.3g} "
            "million: make it smaller (or --most-pixels)",
        )
    if max(width, height) > MOST_STRETCHED * min(width, height):
        raise Refused(
            422,
            f"the picture has {width} x {height} pixels: cut it to sides of which one is at most "
            f"{MOST_STRETCHED} times the other",
        )


def _kind(content: bytes) -> str:
    """What bytes look like that are no picture, in words."""
    for offset, magic, words in _MAGIC:
        if content[offset : offset + len(magic)] == magic:
            return words
    start = content[:1000].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith((b"<?xml", b"<svg")) and b"<svg" in content[:5000].lower():
        return "an SVG drawing"
    return "an unknown file"


def _short(exc: BaseException) -> str:
    text = " ".join(str(exc).split()) or type(exc).__name__
    return text if len(text) <= 120 else f"{text[:119]}…"


def thumbnail(image: Image.Image) -> bytes:
    """A small JPEG of a picture, without its metadata."""
    small = image.copy()
    small.thumbnail((THUMBNAIL_PIXELS, THUMBNAIL_PIXELS))
    # What Pillow knows about the upload (EXIF, ICC, comments) stands in info: it stays behind.
    small.info.clear()
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=82)
    return buffer.getvalue()


# --- samples


def samples() -> dict[str, Image.Image]:
    """Pictures to try the page with, by name: scikit-learn's photographs, and a drawn one."""
    found = {"drawn": drawn()}
    try:
        china, flower = sample_photographs()
    except ImagesError:
        return found  # scikit-learn is not installed: the drawn one will do
    return {"temple": china, "flower": flower, **found}


def drawn(side: int = 320) -> Image.Image:
    """A picture of no thing: shapes on a gradient, the same each time."""
    across = np.linspace(0, 255, side)
    red, green = np.meshgrid(across, across)
    blue = 255 - (red + green) / 2
    image = Image.fromarray(np.stack([red, green, blue], axis=2).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    unit = side // 16
    draw.ellipse((2 * unit, 3 * unit, 8 * unit, 9 * unit), fill=(240, 190, 40))
    draw.rectangle((9 * unit, 7 * unit, 14 * unit, 13 * unit), fill=(40, 90, 160))
    draw.polygon(
        [(3 * unit, 14 * unit), (6 * unit, 10 * unit), (9 * unit, 14 * unit)], (60, 140, 70)
    )
    return image
