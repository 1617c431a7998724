"""How each family is trained: recipes as a table, and one training as plain data.

Pure: no torch here, so that a command line is checked in no time.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from export.images import IMAGENET_MEAN, IMAGENET_STD, Preprocess


class TrainingError(ValueError):
    """A training that can't be done or went wrong; the message names the remedy."""


@dataclass(frozen=True)
class Augmentation:
    """How training images are varied, each time anew; nothing by default.

    ``classes``: only images of these; empty: all. Every ``share`` is the part of
    the images that it happens to. ``rotate_degrees`` and ``jitter`` (of
    brightness, contrast and saturation, each by a factor in 1 - jitter .. 1 +
    jitter) are the widest; ``crop`` is the least share of the area that a random
    crop leaves, 1: none.
    """

    classes: tuple[str, ...] = ()
    flip_share: float = 0.0
    upside_down_share: float = 0.0
    rotate_degrees: float = 0.0
    rotate_share: float = 0.0
    jitter: float = 0.0
    jitter_share: float = 0.0
    crop: float = 1.0


@dataclass(frozen=True)
class Stage:
    """Some first epochs at a share of the input's height and width, which is cheaper."""

    epochs: int
    scale: float


@dataclass(frozen=True)
class TrainRecipe:
    """What is done with a network, whatever the data.

    ``optimizer`` is "adam" (weight decay as L2) or "adamw". ``schedule``:
    "plateau" divides the rate by ten after ``plateau_patience`` epochs without a
    better validation accuracy; "cosine" falls to zero over all steps, after a
    linear rise over the first ``warmup`` of them. ``norms``: BatchNorm is put
    behind each convolution of a VGG and folded into it at the end.
    """

    story: str
    epochs: int
    batch_size: int
    optimizer: str = "adam"
    lr: float = 1e-4
    weight_decay: float = 0.0
    schedule: str = "constant"
    plateau_patience: int = 4
    warmup: float = 0.0
    label_smoothing: float = 0.0
    augmentation: Augmentation = Augmentation()
    stages: tuple[Stage, ...] = ()
    norms: bool = False
    precision: str = "fp32"
    compiled: bool = False


PAPER_BATCH = 4
"""The batch size of the paper of the eight networks."""

_LEAVES = Augmentation(
    flip_share=0.5,
    upside_down_share=0.5,
    rotate_degrees=20,
    rotate_share=0.5,
    jitter=0.2,
    jitter_share=0.5,
    crop=0.5,
)

SCRATCH = MappingProxyType(
    {
        "revisited": TrainRecipe(
            "ResNet Revisited (Tu): Adam 5e-4, L2 1e-4, rate divided on a plateau of the "
            "validation accuracy, birds, cats, deer and dogs varied",
            epochs=10,
            batch_size=16,
            lr=5e-4,
            weight_decay=1e-4,
            schedule="plateau",
            # Half of them stay as they are: were all turned, and so softened,
            # the network would learn that sharp images are none of the four.
            augmentation=Augmentation(
                classes=("bird", "cat", "deer", "dog"),
                flip_share=0.5,
                rotate_degrees=15,
                rotate_share=0.5,
                jitter=0.2,
                jitter_share=0.5,
            ),
            compiled=True,
        ),
        "vgg19": TrainRecipe(
            "from scratch with BatchNorm, folded at the end; small images first",
            epochs=20,
            batch_size=32,
            optimizer="adamw",
            lr=1e-3,
            weight_decay=0.02,
            schedule="cosine",
            warmup=0.1,
            label_smoothing=0.1,
            augmentation=_LEAVES,
            stages=(Stage(12, 0.3), Stage(5, 0.45), Stage(1, 0.72)),
            norms=True,
            precision="bf16",
        ),
        "xception": TrainRecipe(
            "from scratch; small images first",
            epochs=22,
            batch_size=32,
            optimizer="adamw",
            lr=2e-3,
            weight_decay=0.05,
            schedule="cosine",
            warmup=0.1,
            label_smoothing=0.1,
            augmentation=_LEAVES,
            stages=(Stage(12, 0.33), Stage(6, 0.5), Stage(2, 0.72)),
            precision="bf16",
        ),
        "student": TrainRecipe(
            "a small network on leaves, alone or taught",
            epochs=40,
            batch_size=32,
            optimizer="adamw",
            lr=3e-3,
            weight_decay=1e-3,
            schedule="cosine",
            warmup=0.05,
            augmentation=_LEAVES,
            compiled=True,
        ),
    }
)
"""Family -> its recipe from scratch."""

FINE_TUNE = TrainRecipe(
    "a trained network goes on at a low rate",
    epochs=1,
    batch_size=16,
    lr=1e-4,
    schedule="constant",
    augmentation=dataclasses.replace(_LEAVES, crop=0.7),
    precision="bf16",
)
"""What ``--from`` means: the first seed's Adam 1e-4, one epoch."""

HEAD = TrainRecipe(
    "the head alone, on stored features of the frozen backbone",
    epochs=10,
    batch_size=64,
    optimizer="adamw",
    lr=3e-4,
    weight_decay=0.01,
    schedule="cosine",
    warmup=0.05,
)
"""What ``--head-only`` means."""


@dataclass(frozen=True)
class Plan:
    """One training, wholly determined: the same plan gives the same weights.

    ``size`` is (height, width) in pixels. ``parent`` and ``teacher`` are the
    digests of the files behind ``--from`` and ``--teacher``, the latter with its
    variant and input size; ``data`` the fingerprints of the parts that are learnt
    from and decided by.
    """

    variant: str
    recipe: TrainRecipe
    size: tuple[int, int]
    classes: tuple[str, ...]
    data: tuple[str, str]
    seed: int = 0
    first: int | None = None
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    parent: str | None = None
    new_head: bool = False
    head_only: bool = False
    freeze_before: str | None = None
    recalibrate: bool = False
    teacher: str | None = None
    temperature: float = 4.0
    alpha: float = 0.9
    views: int | None = None
    patience: int | None = None
    threads: int = 1
    device: str = "cpu"

    @property
    def preprocess(self) -> Preprocess:
        """What the checkpoint says of its input, and what validation uses."""
        return Preprocess(self.size, first=self.first, mean=self.mean, std=self.std)

    def as_dict(self) -> dict[str, Any]:
        """Every field, for the log."""
        return dataclasses.asdict(self)

    def key(self) -> str:
        """A sha256 prefix over all of it: what has the same key may be resumed."""
        return hashlib.sha256(json.dumps(self.as_dict()).encode()).hexdigest()[:16]

    def view(self, epoch: int) -> int:
        """Which variation of the images an epoch sees; they repeat after ``views`` of them."""
        return epoch if self.views is None else (epoch - 1) % self.views + 1

    def scale(self, epoch: int) -> float:
        """The share of the input's height and width in an epoch, counted from 1."""
        for stage in self.recipe.stages:
            if epoch <= stage.epochs:
                return stage.scale
            epoch -= stage.epochs
        return 1.0

    def size_in(self, epoch: int) -> tuple[int, int]:
        """Height and width of the images in an epoch, counted from 1."""
        scale = self.scale(epoch)
        height, width = (max(1, round(length * scale)) for length in self.size)
        return height, width


def batches(images: int, batch_size: int) -> int:
    """Steps of an epoch: whole batches only, and one of what there is where that is less.

    A batch of one image has no statistics, and one of another size would be compiled anew.
    """
    return max(1, images // batch_size)


def rate(recipe: TrainRecipe, step: int, steps: int) -> float:
    """The factor of the learning rate at a step, counted from 0, of so many in all."""
    if recipe.schedule != "cosine":
        return 1.0
    rise = round(recipe.warmup * steps)
    if step < rise:
        return (step + 1) / rise
    return (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise))) / 2


def seed_of(seed: int, *parts: object) -> int:
    """A seed of its own for each use, so that no use depends on what others drew before."""
    text = " ".join(map(str, (seed, *parts)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:7])
