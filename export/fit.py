"""The training loop: epochs, the best checkpoint, resuming, and stopping at NaN."""

from __future__ import annotations

import dataclasses
import math
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from export.courses import Course, Score
from export.train_log import EpochLine
from export.train_plan import Plan, TrainingError, batches, rate, seed_of


@dataclass(frozen=True)
class Hooks:
    """Whom the loop tells what it does.

    ``keep`` writes the network as it stands, the best so far, to its file.
    ``record`` gets every epoch of the training so far whenever one is done.
    """

    keep: Callable[[EpochLine], object]
    record: Callable[[tuple[EpochLine, ...]], object]
    step: Callable[[], object] = lambda: None
    clock: Callable[[], float] = time.perf_counter


class Fit:
    """One training of ``learner`` on ``course``; ``state`` is the file to resume from.

    ``checkpoint`` is what ``hooks.keep`` writes, for whoever must be told of it.

    Whatever is random in an epoch is seeded by the plan's seed and the epoch's
    number, so that a resumed training gives the very weights of an unbroken one.
    """

    def __init__(
        self,
        plan: Plan,
        learner: nn.Module,
        course: Course,
        state: Path,
        hooks: Hooks,
        checkpoint: Path,
    ) -> None:
        self.plan, self.learner, self.course = plan, learner, course
        self.state, self.hooks, self.checkpoint = state, hooks, checkpoint
        self.lines: tuple[EpochLine, ...] = ()
        recipe = plan.recipe
        self._batches = batches(course.images, recipe.batch_size)
        learnt = [p for p in learner.parameters() if p.requires_grad]
        kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[recipe.optimizer]
        self._optimizer = kind(learnt, lr=recipe.lr, weight_decay=recipe.weight_decay, fused=True)
        self._plateau = ReduceLROnPlateau(
            self._optimizer, mode="max", patience=recipe.plateau_patience
        )

    @property
    def best(self) -> EpochLine | None:
        """The best epoch so far, of those at the real input size."""
        return next((line for line in reversed(self.lines) if line.best), None)

    @property
    def steps(self) -> int:
        """Steps in all epochs."""
        return self.plan.recipe.epochs * self._batches

    @property
    def steps_done(self) -> int:
        """Steps of the epochs that are done."""
        return len(self.lines) * self._batches

    def run(self) -> EpochLine:
        """Train what is left of the epochs; returns the best one."""
        while len(self.lines) < self.plan.recipe.epochs and not self._stale():
            self._epoch(len(self.lines) + 1)
        if self.best is None:
            raise TrainingError(f"{self.plan.variant}: no epoch was at the real input size")
        return self.best

    def _stale(self) -> bool:
        """Whether so many epochs brought nothing better that it should stop early."""
        if self.plan.patience is None or self.best is None:
            return False
        return len(self.lines) - self.best.epoch >= self.plan.patience

    def _epoch(self, epoch: int) -> None:
        started = self.hooks.clock()
        train = self._learn(epoch)
        lr = self._optimizer.param_groups[0]["lr"]
        val = self.course.judge()
        if not math.isfinite(val.loss):
            self._stop("validation loss", val.loss, epoch, self._batches)
        if self.plan.recipe.schedule == "plateau":
            self._plateau.step(val.accuracy)
        line = EpochLine(
            epoch=epoch,
            train_loss=train.loss,
            train_accuracy=train.accuracy,
            val_loss=val.loss,
            val_accuracy=val.accuracy,
            lr=lr,
            size=self.plan.size_in(epoch),
            best=self._is_best(epoch, val),
            seconds=self.hooks.clock() - started,
        )
        if line.best:
            self.hooks.keep(line)
        self.lines += (line,)
        self._save()
        self.hooks.record(self.lines)

    def _is_best(self, epoch: int, val: Score) -> bool:
        """Better than all before; epochs at another size than the network's don't count."""
        if self.plan.scale(epoch) < 1:
            return False
        return self.best is None or val.accuracy > self.best.val_accuracy

    def _learn(self, epoch: int) -> Score:
        """One pass over the training images, in an order of its own."""
        torch.manual_seed(seed_of(self.plan.seed, "epoch", epoch))  # for dropout
        order = torch.randperm(
            self.course.images,
            generator=torch.Generator().manual_seed(seed_of(self.plan.seed, "order", epoch)),
        )
        self.course.begin(epoch, order)
        self._set_mode()
        total, right, seen, size = 0.0, 0, 0, self.plan.recipe.batch_size
        for step, index in enumerate(torch.split(order, size)[: self._batches]):
            self._set_rate(step + (epoch - 1) * self._batches)
            loss, correct = self.course.lesson(index)
            value = float(loss.detach())
            if not math.isfinite(value):
                self._stop("loss", value, epoch, step + 1)
            self._optimizer.zero_grad()
            torch.autograd.backward(loss)
            self._optimizer.step()
            total, right, seen = total + value * len(index), right + int(correct), seen + len(index)
            self.hooks.step()
        return Score(total / seen, right / seen)

    def _set_rate(self, step: int) -> None:
        """A schedule that follows the steps; a plateau's rate is set by the epoch's result."""
        if self.plan.recipe.schedule == "cosine":
            factor = rate(self.plan.recipe, step, self.steps)
            for group in self._optimizer.param_groups:
                group["lr"] = self.plan.recipe.lr * factor

    def _set_mode(self) -> None:
        """Training mode, but for frozen parts: their BatchNorm and dropout stay as they are."""
        self.learner.train()
        for module in self.learner.modules():
            own = list(module.parameters(recurse=False))
            if own and not any(p.requires_grad for p in own):
                module.eval()

    def _stop(self, what: str, value: float, epoch: int, step: int) -> None:
        best = self.best
        good = (
            f"the last good checkpoint, of epoch {best.epoch}, stays: {self.checkpoint}"
            if best
            else "there is no good checkpoint yet"
        )
        # What was written stands under this name, and is not given up to another recipe.
        name = ", with another --name" if self.lines else ""
        raise TrainingError(
            f"{self.plan.variant}: the {what} became {value} in epoch {epoch}, step {step} of "
            f"{self._batches}; {good}: try a lower --lr (it was {self.plan.recipe.lr:g}), "
            f"or --precision fp32{name}"
        )

    # --- what a kill may not destroy ---

    def _save(self) -> None:
        content = {
            "key": self.plan.key(),
            "learner": self.learner.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "plateau": self._plateau.state_dict(),
            "rng": torch.get_rng_state(),
            "lines": [dataclasses.asdict(line) for line in self.lines],
        }
        try:
            atomically(self.state, lambda part: torch.save(content, part))
        except RuntimeError as exc:  # what torch makes of a disk that is full
            raise OSError(f"{self.state}: {exc}") from exc

    def resume(self) -> bool:
        """Take up what an interrupted run of the same plan left; whether there was any.

        A ``TrainingError`` where the file was left by another plan or is damaged.
        """
        if not self.state.exists():
            return False
        try:
            content = torch.load(self.state, weights_only=True, map_location=self.plan.device)
        except Exception as exc:
            raise TrainingError(
                f"{self.state} is damaged ({type(exc).__name__}): remove it to start anew"
            ) from exc
        if content["key"] != self.plan.key():
            raise TrainingError(
                f"{self.state} was left by a training with other options or data: "
                "repeat that command to finish it, give this one another --name, or remove the file"
            )
        self.learner.load_state_dict(content["learner"])
        self._optimizer.load_state_dict(content["optimizer"])
        self._plateau.load_state_dict(content["plateau"])
        torch.set_rng_state(content["rng"].cpu())
        self.lines = tuple(EpochLine.of(line) for line in content["lines"])
        return True


def atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file aside and rename it: it is there as a whole, or as it was."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".part-", suffix=path.suffix)
    os.close(handle)
    part = Path(name)
    try:
        write(part)
        part.chmod(0o644)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
