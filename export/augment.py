"""Vary a batch of images in torch, from numbers that were drawn for the whole epoch.

An image's variation depends on its place in the data and on the epoch's seed,
not on the batch that it comes in.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from export.pixels import Pixels, fitted
from export.train_plan import Augmentation

_NUMBERS = 11
"""Random numbers that an image takes; see ``varied``."""
_GREY = (0.299, 0.587, 0.114)
CPU = torch.device("cpu")


def draw(images: int, seed: int) -> Tensor:
    """Random numbers in 0..1 for every image of an epoch, ``(images, 11)``."""
    return torch.rand(images, _NUMBERS, generator=torch.Generator().manual_seed(seed))


def chosen(augmentation: Augmentation, classes: tuple[str, ...]) -> Tensor:
    """For each class whether its images are varied, bool ``(classes,)``."""
    wanted = () if augmentation == Augmentation() else augmentation.classes or classes
    return torch.tensor([name in wanted for name in classes])


def pictures(
    stock: Pixels,
    index: Tensor,
    numbers: Tensor,
    augmentation: Augmentation,
    size: tuple[int, int],
    varies: Tensor,
    device: torch.device = CPU,
) -> Tensor:
    """The images of ``stock`` at these places in 0..1, ``(n, 3, *size)``, on the device.

    Those of the classes that ``varies`` names are varied, by the epoch's ``numbers``.
    """
    images = stock.images[index].to(device).float() / 255
    which = varies[stock.labels[index]]
    if bool(which.all()):
        return varied(images, numbers[index], augmentation, size)
    result = fitted(images, size)
    places = which.nonzero()[:, 0]
    result[places] = varied(images[places], numbers[index[places]], augmentation, size)
    return result


def varied(
    images: Tensor, numbers: Tensor, augmentation: Augmentation, size: tuple[int, int]
) -> Tensor:
    """Images in 0..1 ``(n, 3, H, W)``, varied by their ``numbers`` and brought to ``size``."""
    if not len(images):
        return images.new_empty((0, 3, *size))
    images = _moved(images, numbers, augmentation, size)
    return _jittered(images, numbers, augmentation) if augmentation.jitter else images


def _moved(images: Tensor, numbers: Tensor, how: Augmentation, size: tuple[int, int]) -> Tensor:
    """Flipped, turned and cropped, all in one sampling."""
    maps = _maps(numbers, how, images.shape[2] / images.shape[3]).to(images)
    # In bf16 places would be pixels off.
    with torch.autocast(images.device.type, enabled=False):
        grid = functional.affine_grid(maps, [len(images), 3, *size], align_corners=False)
        # Black corners would betray the classes that are varied: mirror instead.
        return functional.grid_sample(images, grid, padding_mode="reflection", align_corners=False)


def _maps(numbers: Tensor, how: Augmentation, aspect: float) -> Tensor:
    """Where each pixel of the result is taken from: affine maps ``(n, 2, 3)`` over -1..1."""
    turned = (numbers[:, 2] < how.rotate_share).float()
    angle = (2 * numbers[:, 3] - 1) * turned * math.radians(how.rotate_degrees)
    # A crop of a random area and of proportions between 3:4 and 4:3.
    area = how.crop + (1 - how.crop) * numbers[:, 4]
    stretch = torch.exp((2 * numbers[:, 5] - 1) * math.log(4 / 3) / 2 * (how.crop < 1))
    height, width = (torch.sqrt(area) * factor for factor in (stretch, 1 / stretch))
    height, width = height.clamp(max=1), width.clamp(max=1)
    across = torch.where(numbers[:, 0] < how.flip_share, -width, width)
    down = torch.where(numbers[:, 1] < how.upside_down_share, -height, height)
    cos, sin = torch.cos(angle), torch.sin(angle)
    left = (2 * numbers[:, 6] - 1) * (1 - width)
    top = (2 * numbers[:, 7] - 1) * (1 - height)
    rows = (
        torch.stack((cos * across, -sin * down * aspect, left), 1),
        torch.stack((sin * across / aspect, cos * down, top), 1),
    )
    return torch.stack(rows, 1)


def _jittered(images: Tensor, numbers: Tensor, how: Augmentation) -> Tensor:
    """Brightness, contrast and saturation multiplied, each by a factor near 1."""
    # What was drawn below the share decides and also says where: one number less.
    chance = numbers[:, 8:11]
    hit = (chance < how.jitter_share).float()
    place = chance / max(how.jitter_share, 1e-6)
    factors = (1 + (2 * place - 1) * how.jitter * hit).to(images)[:, :, None, None, None]
    weights = images.new_tensor(_GREY)[:, None, None]
    images = images * factors[:, 0]
    mean = (images * weights).sum(1, keepdim=True).mean((2, 3), keepdim=True)
    images = torch.lerp(mean.expand_as(images), images, factors[:, 1].expand_as(images))
    grey = (images * weights).sum(1, keepdim=True)
    images = torch.lerp(grey.expand_as(images), images, factors[:, 2].expand_as(images))
    return images.clamp(0, 1)
