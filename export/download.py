"""Published checkpoints: fetched once, believed only with the right hash."""

from __future__ import annotations

import hashlib
import http.client
import tempfile
import urllib.request
from dataclasses import dataclass
from pathlib import Path

Triple = tuple[float, float, float]

IMAGENET_MEAN: Triple = (0.485, 0.456, 0.406)
IMAGENET_STD: Triple = (0.229, 0.224, 0.225)

_CHUNK_BYTES = 1 << 20
_TIMEOUT_S = 30


class WeightsError(ValueError):
    """Weights that can't be had or don't fit; the message names the remedy."""


class DownloadError(WeightsError):
    """Weights that exist and could not be fetched: that says nothing about what they fit."""


@dataclass(frozen=True)
class Official:
    """A published checkpoint: where it stands and what it was trained with."""

    url: str
    sha256_prefix: str
    mean: Triple = IMAGENET_MEAN
    std: Triple = IMAGENET_STD
    max_bytes: int = 1 << 30

    @property
    def file_name(self) -> str:
        """The last part of the URL."""
        return self.url.rpartition("/")[2]


def download(source: Official, path: Path) -> None:
    """Fetch into a file aside, check the hash, then rename: never half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".download-") as aside:
        part = Path(aside) / source.file_name
        try:
            _fetch(source, part)
        except (OSError, http.client.HTTPException) as exc:
            raise _refused(source, f"failed ({exc})") from exc
        with part.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if not digest.startswith(source.sha256_prefix):
            raise _refused(source, f"has sha256 {digest[:16]}..., not {source.sha256_prefix}...")
        part.replace(path)


def _fetch(source: Official, part: Path) -> None:
    """Stream the URL into ``part``, up to the size that it may have."""
    with urllib.request.urlopen(source.url, timeout=_TIMEOUT_S) as reply, part.open("wb") as file:
        size = 0
        while chunk := reply.read(_CHUNK_BYTES):
            size += len(chunk)
            if size > source.max_bytes:
                raise _refused(source, f"is larger than {source.max_bytes} bytes")
            file.write(chunk)


def _refused(source: Official, why: str) -> DownloadError:
    return DownloadError(
        f"the download of {source.url} {why}: download it by hand and pass --weights FILE"
    )
