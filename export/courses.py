"""What a training learns from and is judged by: images, varied anew in each epoch."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from export import augment
from export.pixels import Pixels, with_room
from export.train_plan import Plan, seed_of

_JUDGED_AT_ONCE_PIXELS = 1 << 21
"""Pixels of a batch when nothing is learnt: large enough, and small in memory."""


class Score(NamedTuple):
    """Mean loss and share of right answers."""

    loss: float
    accuracy: float


class Course(Protocol):
    """What the loop knows of its data."""

    images: int

    def begin(self, epoch: int) -> None:
        """Get ready for an epoch, counted from 1."""

    def lesson(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """The loss of the images at these places, with its graph, and how many were right."""

    def judge(self) -> Score:
        """What the network as it stands makes of the validation part."""


@dataclass
class Normaliser:
    """Bytes to what a network takes, on a device."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    device: torch.device

    def __post_init__(self) -> None:
        self._mean = torch.tensor(self.mean, device=self.device)[:, None, None]
        self._std = torch.tensor(self.std, device=self.device)[:, None, None]

    def __call__(self, images: Tensor) -> Tensor:
        """Images in 0..1 ``(n, 3, H, W)``, less the mean, over the deviation."""
        normalised = (images - self._mean) / self._std
        return normalised.contiguous(memory_format=torch.channels_last)


Targets = Callable[[int, Tensor], Tensor]
"""The teacher's logits ``(n, classes)`` in an epoch for the images at these places."""


class ImageCourse:
    """Images through the whole network.

    ``teacher`` is asked for its logits of the images as they are varied; what is
    made of them is ``loss``'s.
    """

    def __init__(
        self,
        plan: Plan,
        module: nn.Module,
        train: Pixels,
        val: Callable[[tuple[int, int]], Pixels],
        compiled: Callable[[nn.Module], nn.Module] = lambda module: module,
    ) -> None:
        self.plan, self.module, self.images = plan, module, len(train)
        self._train, self._val = train, val
        self._device = torch.device(plan.device)
        self._normalise = Normaliser(plan.mean, plan.std, self._device)
        self._varied = augment.chosen(plan.recipe.augmentation, plan.classes)
        self._loss = nn.CrossEntropyLoss(label_smoothing=plan.recipe.label_smoothing)
        self._forward = compiled(module)
        self._scale = 1.0

    def begin(self, epoch: int) -> None:
        """Draw the epoch's variations, and shrink the images where it wants smaller ones."""
        view = epoch if self.plan.views is None else (epoch - 1) % self.plan.views
        self._numbers = augment.draw(self.images, seed_of(self.plan.seed, "vary", view))
        self._size = self.plan.size_in(epoch)
        self._stock = self._train
        if self.plan.scale(epoch) < 1:
            self._stock = self._train.resized(with_room(self._size))

    def lesson(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """See ``Course``."""
        labels = self._stock.labels[index].to(self._device)
        with precision(self.plan):
            logits = self._forward(self._normalise(self.pictures(index)))
        logits = logits.float()
        loss: Tensor = self._loss(logits, labels)
        return loss, (logits.argmax(1) == labels).sum()

    def pictures(self, index: Tensor) -> Tensor:
        """The images at these places in 0..1, those that are to be varied varied."""
        images = self._stock.images[index].to(self._device).float() / 255
        which = self._varied[self._stock.labels[index]]
        numbers = self._numbers[index]
        how, size = self.plan.recipe.augmentation, self._size
        if bool(which.all()):
            return augment.varied(images, numbers, how, size)
        places = which.nonzero()[:, 0]
        images[places.to(self._device)] = augment.varied(
            images[places.to(self._device)], numbers[places], how, size
        )
        return images

    def judge(self) -> Score:
        """See ``Course``; in fp32, as what is written will be used."""
        val = self._val(self._size)
        return judged(self.module, val, self._normalise)


def precision(plan: Plan) -> contextlib.AbstractContextManager[object]:
    """bf16 for what bears it, where the plan says so."""
    device = torch.device(plan.device).type
    return torch.autocast(device, torch.bfloat16, enabled=plan.recipe.precision == "bf16")


@torch.no_grad()
def judged(module: nn.Module, pixels: Pixels, normalise: Normaliser) -> Score:
    """Mean cross-entropy and accuracy over images of the network's input size."""
    module.eval()
    loss, right = 0.0, 0
    area = pixels.images.shape[2] * pixels.images.shape[3]
    at_once = max(1, min(500, _JUDGED_AT_ONCE_PIXELS // area))
    for images, labels in zip(
        pixels.images.split(at_once), pixels.labels.split(at_once), strict=True
    ):
        there = labels.to(normalise.device)
        logits = module(normalise(images.to(normalise.device).float() / 255)).float()
        loss += float(functional.cross_entropy(logits, there, reduction="sum"))
        right += int((logits.argmax(1) == there).sum())
    return Score(loss / len(pixels), right / len(pixels))
