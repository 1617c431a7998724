"""Train a head on what a frozen backbone makes of the images, computed once and stored."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from export.courses import Score, precision
from export.parents import HEADS
from export.train_plan import Plan, TrainingError

_FP16_MAX = 65504.0
_JUDGED_AT_ONCE = 64


class _Reached(Exception):
    """The head was reached: the rest need not be computed."""


def head_of(module: nn.Module) -> nn.Sequential:
    """The head as a module of its own; its parameters are the network's.

    ``classifier`` of a VGG; ``dense``, what follows it, and ``fc`` of the others.
    """
    layers = module.named_children()
    return nn.Sequential(*(layer for name, layer in layers if name in HEADS or _joins(name, layer)))


def _joins(name: str, layer: nn.Module) -> bool:
    """Whether it stands between the head's layers; without a first one it is never called."""
    return name == "relu5" and not isinstance(layer, nn.Identity)


@torch.no_grad()
def vectors(module: nn.Module, images: Tensor) -> Tensor:
    """What ``module`` hands its head: ``(n, features)`` of a batch ``(n, 3, H, W)``."""
    seen: list[Tensor] = []

    def stop(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        seen.append(inputs[0])
        raise _Reached

    handle = head_of(module)[0].register_forward_pre_hook(stop)
    try:
        module(images)
    except _Reached:
        pass
    finally:
        handle.remove()
    return seen[0]


@dataclass(frozen=True, eq=False)
class Features:
    """``rows`` ``(views * n, features)``, view after view; ``labels`` int64 ``(n,)``."""

    rows: NDArray[np.floating]
    labels: Tensor


def stored(
    batches: Iterable[Tensor],
    module: nn.Module,
    rows: int,
    labels: Tensor,
    file: Path,
    kind: type[np.floating] = np.float16,
) -> Features:
    """Run ``rows`` images through the backbone into a memory-mapped file.

    Values that fp16 can't hold are a ``TrainingError``.
    """
    module.eval()
    kept: NDArray[np.floating] | None = None
    start = 0
    for batch in batches:
        values = vectors(module, batch).float().cpu()
        if kind is np.float16 and float(values.abs().max()) > _FP16_MAX:
            raise TrainingError("features above 65504 can't be stored as fp16: train the whole")
        if kept is None:
            shape = (rows, values.shape[1])
            kept = np.lib.format.open_memmap(file, "w+", kind, shape)
        kept[start : start + len(values)] = values.numpy()
        start += len(values)
    assert kept is not None
    assert start == rows
    return Features(kept, labels)


class FeatureCourse:
    """Stored features through the head; view 1 is the images as they are."""

    def __init__(self, plan: Plan, head: nn.Module, train: Features, val: Features) -> None:
        self.plan, self.head, self.images = plan, head, len(train.labels)
        self._train, self._val = train, val
        self._loss = nn.CrossEntropyLoss(label_smoothing=plan.recipe.label_smoothing)

    def begin(self, epoch: int, order: Tensor) -> None:
        """Turn to the epoch's view; rows are looked up, in whatever order."""
        self._start = (self.plan.view(epoch) - 1) * self.images

    def lesson(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """See ``Course``."""
        labels = self._train.labels[index].to(self.plan.device)
        rows = torch.from_numpy(self._train.rows[(self._start + index).numpy()])
        with precision(self.plan):
            logits = self.head(rows.to(self.plan.device).float())
        logits = logits.float()
        loss: Tensor = self._loss(logits, labels)
        return loss, (logits.argmax(1) == labels).sum()

    @torch.no_grad()
    def judge(self) -> Score:
        """See ``Course``; in fp32."""
        self.head.eval()
        loss, right = 0.0, 0
        for index in torch.split(torch.arange(len(self._val.labels)), _JUDGED_AT_ONCE):
            rows = torch.from_numpy(np.array(self._val.rows[index.numpy()], dtype=np.float32))
            labels = self._val.labels[index].to(self.plan.device)
            logits = self.head(rows.to(self.plan.device))
            loss += float(functional.cross_entropy(logits, labels, reduction="sum"))
            right += int((logits.argmax(1) == labels).sum())
        return Score(loss / len(self._val.labels), right / len(self._val.labels))
