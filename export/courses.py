"""What a training learns from and is judged by: images, varied anew in each epoch."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from export import augment
from export.pixels import Pixels
from export.train_plan import Plan, seed_of

_AT_ONCE_PIXELS = 1 << 21
"""Pixels of what is handled at once when nothing is learnt: large enough, and small in memory."""


class Score(NamedTuple):
    """Mean loss and share of right answers."""

    loss: float
    accuracy: float


class Course(Protocol):
    """What the loop knows of its data."""

    images: int

    def begin(self, epoch: int, order: Tensor) -> None:
        """Get ready for an epoch, counted from 1, and its images in the order of their places."""

    def lesson(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """The loss of the images at these places, with its graph, and how many were right.

        The places are the next ones of the epoch's order, a batch of them.
        """

    def judge(self) -> Score:
        """What the network as it stands makes of the validation part."""


@dataclass
class Normaliser:
    """Bytes to what a network takes, on a device."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    device: torch.device

    def __post_init__(self) -> None:
        self._mean = torch.tensor(self.mean, device=self.device)[:, None, None]
        self._std = torch.tensor(self.std, device=self.device)[:, None, None]

    def __call__(self, images: Tensor) -> Tensor:
        """Images in 0..1 ``(n, 3, H, W)``, less the mean, over the deviation, on the device."""
        normalised = (images.to(self.device) - self._mean) / self._std
        return normalised.contiguous(memory_format=torch.channels_last)


Taught = Callable[[int, Tensor], Tensor]
"""A teacher's logits ``(n, classes)`` of all images in a view, varied by its numbers."""


class ImageCourse:
    """Images through the whole network.

    ``teacher`` says what it makes of the images, varied as the learner sees
    them; without one the labels alone count. ``compiled`` may put something
    faster in the module's place for training.
    """

    def __init__(
        self,
        plan: Plan,
        module: nn.Module,
        train: Pixels,
        val: Callable[[tuple[int, int]], Pixels],
        *,
        teacher: Taught | None = None,
        compiled: Callable[[nn.Module], nn.Module] = lambda module: module,
    ) -> None:
        self.plan, self.module, self.images = plan, module, len(train)
        self._train, self._val, self._teacher = train, val, teacher
        self._device = torch.device(plan.device)
        self._normalise = Normaliser(plan.mean, plan.std, self._device)
        self._varies = augment.chosen(plan.recipe.augmentation, plan.classes)
        self._loss = nn.CrossEntropyLoss(label_smoothing=plan.recipe.label_smoothing)
        self._forward = compiled(module)

    def begin(self, epoch: int, order: Tensor) -> None:
        """Draw the epoch's variations, shrink the images where it wants smaller ones."""
        self._size = self.plan.size_in(epoch)
        self._stock = self._train.roomy(self._size)
        view = self.plan.view(epoch)
        self._numbers = augment.draw(self.images, seed_of(self.plan.seed, "vary", view))
        self._soft = self._teacher(view, self._numbers) if self._teacher else None
        self._ahead = self._varied(order)

    def lesson(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """See ``Course``."""
        labels = self._stock.labels[index].to(self._device)
        images = next(self._ahead)
        with precision(self.plan):
            logits = self._forward(images)
        logits = logits.float()
        return self._judged(logits, labels, index), (logits.argmax(1) == labels).sum()

    def _varied(self, order: Tensor) -> Iterator[Tensor]:
        """Batch after batch of an epoch.

        Many batches are varied together: where a batch is a few small images, the
        dozens of calls that this takes cost as much as a step of learning.
        """
        how, batch = self.plan.recipe.augmentation, self.plan.recipe.batch_size
        together = max(1, _AT_ONCE_PIXELS // (math.prod(self._size) * batch)) * batch
        for index in torch.split(order, together):
            images = augment.pictures(
                self._stock, index, self._numbers, how, self._size, self._varies, self._device
            )
            yield from torch.split(self._normalise(images), batch)

    def _judged(self, logits: Tensor, labels: Tensor, index: Tensor) -> Tensor:
        hard: Tensor = self._loss(logits, labels)
        if self._soft is None:
            return hard
        taught = self._soft[index].to(self._device)
        return distilled_loss(logits, taught, hard, self.plan.temperature, self.plan.alpha)

    def judge(self) -> Score:
        """See ``Course``; in fp32, as what is written will be used."""
        return judged(self.module, self._val(self._size), self._normalise)


def distilled_loss(
    logits: Tensor, taught: Tensor, hard: Tensor, temperature: float, alpha: float
) -> Tensor:
    """``alpha`` of the teacher's loss, the rest of the labels' (``hard``).

    The teacher's is the Kullback-Leibler divergence between both softmaxes at
    the temperature, times its square, so that the gradients keep their size
    (Hinton et al., 2015, arXiv:1503.02531). ``logits`` and ``taught`` are
    ``(n, classes)``.
    """
    soft = functional.kl_div(
        functional.log_softmax(logits / temperature, dim=1),
        functional.log_softmax(taught / temperature, dim=1),
        reduction="batchmean",
        log_target=True,
    )
    return alpha * temperature**2 * soft + (1 - alpha) * hard


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
    at_once = max(1, min(500, _AT_ONCE_PIXELS // area))
    for images, labels in zip(
        torch.split(pixels.images, at_once), torch.split(pixels.labels, at_once), strict=True
    ):
        there = labels.to(normalise.device)
        logits = module(normalise(images.float() / 255)).float()
        loss += float(functional.cross_entropy(logits, there, reduction="sum"))
        right += int((logits.argmax(1) == there).sum())
    return Score(loss / len(pixels), right / len(pixels))
