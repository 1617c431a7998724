"""The teacher of a small network: what a large one makes of the same images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from export import augment
from export.courses import Normaliser, precision
from export.pixels import Pixels
from export.train_plan import Plan

_AT_ONCE = 32


@dataclass
class Teacher:
    """A trained network that looks at the student's images, each varied in the same way.

    It has an input size of its own: the same crop, turned and coloured alike, is
    sampled for it from ``pixels``. What it said of a view is kept, so that it
    need look only once where the views repeat; ``look`` is told the view, how many images
    it has looked at since it was last told, and how many there are.
    """

    plan: Plan
    module: nn.Module
    pixels: Pixels
    size: tuple[int, int]
    normalise: Normaliser
    look: Callable[[int, int, int], object] = lambda view, done, total: None

    def __post_init__(self) -> None:
        self._known: dict[int, Tensor] = {}
        self._stock = self.pixels.roomy(self.size)

    def __call__(self, view: int, numbers: Tensor) -> Tensor:
        """Logits ``(n, classes)`` of all images, varied by the view's ``numbers``."""
        if view not in self._known:
            self._known[view] = self._answers(view, numbers)
        return self._known[view]

    @torch.no_grad()
    def _answers(self, view: int, numbers: Tensor) -> Tensor:
        # In the data's order, so that a resumed training hears the very same.
        answers = []
        how = self.plan.recipe.augmentation
        varies = augment.chosen(how, self.plan.classes)
        for index in torch.split(torch.arange(len(self.pixels)), _AT_ONCE):
            images = augment.pictures(
                self._stock, index, numbers, how, self.size, varies, self.normalise.device
            )
            with precision(self.plan):
                logits = self.module(self.normalise(images))
            answers.append(logits.float().cpu())
            self.look(view, len(index), len(self.pixels))
        return torch.cat(answers)
