"""One training from its options to its checkpoint."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import importlib.util
import platform
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from export.checkpoint_file import described, write_checkpoint
from export.courses import ImageCourse
from export.fit import Fit, Hooks
from export.images import Entry, ImageFolder, Preprocess, spread
from export.pixels import Pixels, decoded, store_size
from export.train_log import EpochLine, LogFile, read_log
from export.train_plan import SCRATCH, Plan, TrainingError, TrainRecipe, seed_of
from export.variants import VARIANTS

LIMIT_SEED = 0


@dataclass(frozen=True)
class Job:
    """What the command line says, for one variant; ``None``: as the recipe has it."""

    variant: str
    data: Path
    out: Path
    name: str
    epochs: int | None = None
    batch_size: int | None = None
    lr: float | None = None
    size: tuple[int, int] | None = None
    seed: int = 0
    precision: str | None = None
    compiled: bool | None = None
    device: str = "auto"
    threads: int = 1
    patience: int | None = None
    limit: int | None = None

    @property
    def checkpoint(self) -> Path:
        """The file that is made."""
        return self.out / f"{self.variant}_{self.name}.safetensors"

    @property
    def log(self) -> Path:
        """Stands beside the checkpoint."""
        return self.checkpoint.with_suffix(".train.jsonl")

    @property
    def state(self) -> Path:
        """What an interrupted training is resumed from."""
        return self.checkpoint.with_suffix(".train.pt")


@dataclass(frozen=True)
class Said:
    """What a training tells: ``total`` steps and those ``done``, or a line of text."""

    variant: str
    text: str = ""
    total: int | None = None
    done: int | None = None


Tell = Callable[[Said], object]


def train(job: Job, tell: Tell) -> Path:
    """Train one variant; returns its checkpoint.

    Raises ``TrainingError``, ``ImagesError`` or ``WeightsError`` in sentences for people.
    """
    torch.set_num_threads(job.threads)
    return _Training(job, tell).run()


class _Training:
    def __init__(self, job: Job, tell: Tell) -> None:
        self.job = job
        self._tell = tell
        self.folder = _opened(job.data)
        self.train, self.val = (_limited(self.folder, part, job.limit) for part in ("train", "val"))
        self.plan = self._planned()

    def run(self) -> Path:
        job = self.job
        if self._finished():
            self._say(f"{job.checkpoint} is there already, made by these very options")
            return job.checkpoint
        module = self._built()
        log = LogFile(job.log, self._header(module))
        hooks = Hooks(
            keep=lambda line: self._keep(module, line), record=log.record, step=self._step
        )
        course = ImageCourse(self.plan, module, self._pixels(), self._validation, self._compiler())
        fit = Fit(self.plan, module, course, job.state, self._spoken(hooks))
        if fit.resume():
            self._say(f"goes on after epoch {len(fit.lines)}")
        log.record(fit.lines)
        self._tell(Said(job.variant, total=fit.steps, done=fit.steps_done))
        best = fit.run()
        log.finish({"best_epoch": best.epoch, "val_accuracy": best.val_accuracy})
        job.state.unlink(missing_ok=True)
        return job.checkpoint

    # --- what is trained ---

    def _planned(self) -> Plan:
        job, variant = self.job, VARIANTS[self.job.variant]
        return Plan(
            variant=variant.name,
            recipe=_recipe(SCRATCH[variant.family], job),
            size=job.size or variant.input_size,
            classes=self.folder.class_names,
            data=(self.folder.fingerprint(self.train), self.folder.fingerprint(self.val)),
            seed=job.seed,
            patience=job.patience,
            threads=job.threads,
            device=_device(job.device),
        )

    def _built(self) -> nn.Module:
        torch.manual_seed(seed_of(self.plan.seed, "weights"))
        builder = _resolved(VARIANTS[self.plan.variant].builder)
        try:
            module: nn.Module = builder(len(self.plan.classes), self.plan.size)
        except ValueError as exc:
            raise TrainingError(f"--size: {exc}") from exc
        return module.to(self.plan.device, memory_format=torch.channels_last)

    def _compiler(self) -> Callable[[nn.Module], nn.Module]:
        if not self.plan.recipe.compiled:
            return lambda module: module
        return torch.compile  # type: ignore[return-value]

    # --- on what ---

    def _pixels(self) -> Pixels:
        plan = self.plan
        size = store_size(plan.size, plan.first, plan.recipe.augmentation.crop < 1)
        return _decoded(
            self.folder, tuple(self.train), dataclasses.replace(plan.preprocess, size=size)
        )

    def _validation(self, size: tuple[int, int]) -> Pixels:
        preprocess = dataclasses.replace(self.plan.preprocess, size=size)
        return _decoded(self.folder, tuple(self.val), preprocess)

    # --- what is said and written ---

    def _say(self, text: str) -> None:
        self._tell(Said(self.job.variant, text))

    def _step(self) -> None:
        self._tell(Said(self.job.variant, done=1))

    def _spoken(self, hooks: Hooks) -> Hooks:
        def record(lines: tuple[EpochLine, ...]) -> None:
            hooks.record(lines)
            self._say(lines[-1].text())

        return dataclasses.replace(hooks, record=record)

    def _keep(self, module: nn.Module, line: EpochLine) -> None:
        metadata = described(
            self.plan.variant,
            self.plan.classes,
            self.plan.preprocess,
            data=f"{self.job.data.stem} {self.plan.data[0][:12]}",
            trained=self._trained(),
            steps=[f"trained: {self._trained()}"],
            accuracy=line.val_accuracy,
            parent=None,
        )
        write_checkpoint(self.job.checkpoint, module, metadata)

    def _trained(self) -> str:
        recipe = self.plan.recipe
        return (
            f"{recipe.epochs} epochs from scratch, {recipe.optimizer.capitalize()} {recipe.lr:g}, "
            f"weight decay {recipe.weight_decay:g}, batch size {recipe.batch_size}, "
            f"{recipe.precision}, seed {self.plan.seed}; the best epoch on {len(self.val)} "
            "validation images"
        )

    def _header(self, module: nn.Module) -> dict[str, Any]:
        return {
            "variant": self.plan.variant,
            "name": self.job.name,
            "key": self.plan.key(),
            "plan": self.plan.as_dict(),
            "images": {"train": len(self.train), "val": len(self.val)},
            "parameters": sum(p.numel() for p in module.parameters()),
            "versions": {"python": platform.python_version(), "torch": torch.__version__},
            "cpu": torch.backends.cpu.get_cpu_capability(),
        }

    def _finished(self) -> bool:
        """Whether the checkpoint is there already; a ``TrainingError`` where it is another's."""
        if not self.job.checkpoint.exists():
            return False
        try:
            log = read_log(self.job.log)
        except (OSError, ValueError):
            log = None
        if log is None or log.header.get("key") != self.plan.key():
            raise TrainingError(
                f"{self.job.checkpoint} was made with other options or data: "
                "give this one another --name, or remove it"
            )
        return log.done


def _recipe(recipe: TrainRecipe, job: Job) -> TrainRecipe:
    """The recipe with what the command line says otherwise."""
    said = {
        "epochs": job.epochs,
        "batch_size": job.batch_size,
        "lr": job.lr,
        "precision": job.precision,
        "compiled": job.compiled,
    }
    recipe = dataclasses.replace(recipe, **{k: v for k, v in said.items() if v is not None})
    if job.compiled is None and not _can_compile():
        recipe = dataclasses.replace(recipe, compiled=False)
    return recipe


def _can_compile() -> bool:
    """Whether there is a compiler for torch.compile to use."""
    return any(shutil.which(name) for name in ("g++", "clang++"))


def _device(wanted: str) -> str:
    if wanted != "auto":
        if wanted == "cuda" and not torch.cuda.is_available():
            raise TrainingError("--device cuda: torch sees no GPU here; leave it out for the CPU")
        return wanted
    return "cuda" if torch.cuda.is_available() else "cpu"


@functools.lru_cache(maxsize=1)
def _opened(path: Path) -> ImageFolder:
    """Kept, because one process trains several variants on it."""
    return ImageFolder.open(path)


@functools.lru_cache(maxsize=4)
def _decoded(folder: ImageFolder, entries: tuple[Entry, ...], preprocess: Preprocess) -> Pixels:
    return decoded(folder, entries, preprocess)


def _limited(folder: ImageFolder, part: str, limit: int | None) -> Sequence[Entry]:
    entries = folder.part(part)
    return entries if limit is None else spread(entries, limit, LIMIT_SEED)


def _resolved(path: str) -> Any:
    """What a dotted path like ``"export.models.vgg:vgg19"`` names."""
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)
