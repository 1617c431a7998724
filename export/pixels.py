"""A part of a data set, decoded once and kept as bytes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from export.images import MAX_UNREADABLE, Entry, ImageFolder, ImagesError, Preprocess

_ROOM = 1.15
"""Training images are kept so much larger than they are used: crops of them stay sharp."""
_CHUNK = 256


@dataclass(frozen=True, eq=False)
class Pixels:
    """``images`` uint8 ``(n, 3, H, W)``, ``labels`` int64 ``(n,)``; names that were unreadable."""

    images: Tensor
    labels: Tensor
    skipped: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.images)

    def resized(self, size: tuple[int, int]) -> Pixels:
        """The same images at another height and width, averaged where they shrink."""
        if tuple(self.images.shape[2:]) == size:
            return self
        parts = [
            (255 * fitted(part.float() / 255, size)).round_().clamp_(0, 255).to(torch.uint8)
            for part in torch.split(self.images, _CHUNK)
        ]
        return Pixels(torch.cat(parts), self.labels, self.skipped)

    def roomy(self, size: tuple[int, int]) -> Pixels:
        """The same, or smaller copies where they are much larger than ``size`` needs.

        Sampling skips pixels where it shrinks an image a lot; averaging doesn't.
        """
        wanted = with_room(size)
        larger = self.images.shape[2] > 1.2 * wanted[0] or self.images.shape[3] > 1.2 * wanted[1]
        return self.resized(wanted) if larger else self


def decoded(
    folder: ImageFolder,
    entries: Sequence[Entry],
    preprocess: Preprocess,
    tell: Callable[[int], object] = lambda count: None,
) -> Pixels:
    """Read all of ``entries`` through ``preprocess.pixels``; ``tell`` hears of each.

    An ``ImagesError`` where more than a tenth of them is unreadable.
    """
    images = torch.empty((len(entries), 3, *preprocess.size), dtype=torch.uint8)
    labels: list[int] = []
    skipped: list[str] = []
    for entry in entries:
        try:
            pixels = preprocess.pixels(folder.read(entry))
        except ImagesError:
            skipped.append(entry.name)
            continue
        finally:
            tell(1)
        images[len(labels)] = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))
        labels.append(entry.label)
    if not entries:
        raise ImagesError(f"{folder.path} has too few images: a part of them would be empty")
    if not labels or len(skipped) > MAX_UNREADABLE * len(entries):
        raise ImagesError(
            f"{len(skipped)} of {len(entries)} images in {folder.path} can't be read, "
            f"the first is {skipped[0]}"
        )
    return Pixels(images[: len(labels)], torch.tensor(labels), tuple(skipped))


def store_size(size: tuple[int, int], first: int | None, crops: bool) -> tuple[int, int]:
    """At which size training images are kept: ``first``, or with room for crops."""
    if first is not None and crops:
        return first, first
    return with_room(size) if crops else size


def with_room(size: tuple[int, int]) -> tuple[int, int]:
    """Somewhat larger than ``size``."""
    return math.ceil(size[0] * _ROOM), math.ceil(size[1] * _ROOM)


def fitted(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Images ``(n, 3, H, W)`` at another size, averaged over where they shrink."""
    if tuple(images.shape[2:]) == size:
        return images
    return functional.interpolate(
        images, size, mode="bilinear", antialias=True, align_corners=False
    )
