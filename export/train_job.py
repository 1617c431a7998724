"""What the command line says of one training, and the recipe that this makes."""

from __future__ import annotations

import dataclasses
import math
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from export.train_plan import FINE_TUNE, HEAD, SCRATCH, TrainingError, TrainRecipe
from export.variants import VARIANTS


@dataclass(frozen=True)
class Job:
    """One variant to train; ``None``: as the recipe, the variant or the parent has it.

    ``limit``: so many images of each part only. ``half``: the checkpoint's
    filters and matrices are stored as fp16. ``scratch``: a folder for stored
    features, gone afterwards.
    """

    variant: str
    data: Path
    out: Path
    name: str
    parent: Path | None = None
    new_head: bool = False
    epochs: int | None = None
    batch_size: int | None = None
    lr: float | None = None
    size: tuple[int, int] | None = None
    first: int | None = None
    seed: int = 0
    precision: str | None = None
    compiled: bool | None = None
    head_only: bool = False
    freeze_before: str | None = None
    recalibrate: bool = False
    teacher: Path | None = None
    teacher_variant: str | None = None
    teacher_size: tuple[int, int] | None = None
    temperature: float = 4.0
    alpha: float = 0.9
    views: int | None = None
    patience: int | None = None
    device: str = "auto"
    threads: int = 1
    limit: int | None = None
    half: bool = False
    scratch: Path | None = None

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
    """What a training tells: a line of text, or that ``what`` is so much further, of ``total``."""

    variant: str
    text: str = ""
    what: str = ""
    total: int = 0
    done: int = 0


Tell = Callable[[Said], object]


def check(job: Job) -> None:
    """A ``TrainingError`` where options contradict one another or can't be meant."""
    variant = VARIANTS[job.variant]
    _check_places(job)
    _check_numbers(job)
    if job.parent is None and (job.head_only or job.new_head or job.recalibrate):
        raise TrainingError(
            "--head-only, --new-head and --recalibrate-norms need a network that knows "
            "something: name its checkpoint with --from"
        )
    if job.parent is None and variant.surgery is not None:
        raise TrainingError(
            f"{job.variant} is cut out of a trained {variant.parent}: "
            f"name that one's checkpoint with --from"
        )
    if job.epochs == 0 and job.parent is None:
        raise TrainingError("--epochs 0 learns nothing, so that it needs --from")
    if job.head_only and job.teacher is not None:
        raise TrainingError("--head-only knows no --teacher: leave one of them out")
    if job.head_only and job.freeze_before is not None:
        raise TrainingError("--head-only freezes all but the head: leave --freeze-before out")
    if job.teacher is None and (unheard := _of_a_teacher(job)):
        raise TrainingError(
            f"{', '.join(unheard)}: nobody teaches; name the teacher's checkpoint with --teacher"
        )


def _check_places(job: Job) -> None:
    for flag, path in (("--from", job.parent), ("--teacher", job.teacher)):
        if path is not None and not path.is_file():
            raise TrainingError(f"{flag} {path}: there is no such file")
    if job.out.exists() and not job.out.is_dir():
        raise TrainingError(f"--out {job.out} is no folder: name one for the checkpoints")
    if job.scratch is not None and not job.scratch.is_dir():
        raise TrainingError(f"--scratch {job.scratch}: there is no such folder; make it first")


def _check_numbers(job: Job) -> None:
    if not 0 <= job.alpha <= 1:
        raise TrainingError(f"--alpha is the teacher's share, in 0..1, not {job.alpha:g}")
    if not 0 < job.temperature < math.inf:
        raise TrainingError(f"--temperature must be above 0 and finite, not {job.temperature:g}")
    if job.lr is not None and not 0 < job.lr < math.inf:
        raise TrainingError(f"--lr must be above 0 and finite, not {job.lr:g}: try 1e-4")


def _of_a_teacher(job: Job) -> list[str]:
    """The flags that say something of a teacher, where they say another thing than usual."""
    return [
        flag
        for flag, differs in (
            ("--teacher-variant", job.teacher_variant is not None),
            ("--teacher-size", job.teacher_size is not None),
            ("--temperature", job.temperature != Job.temperature),
            ("--alpha", job.alpha != Job.alpha),
        )
        if differs
    ]


def recipe_of(job: Job) -> TrainRecipe:
    """The family's recipe, or that for fine-tuning or heads, with what the command line says."""
    scratch = SCRATCH[VARIANTS[job.variant].family]
    recipe = scratch
    if job.head_only:
        recipe = dataclasses.replace(HEAD, augmentation=scratch.augmentation)
    elif job.parent is not None:
        recipe = dataclasses.replace(
            FINE_TUNE, augmentation=scratch.augmentation, compiled=scratch.compiled
        )
    # Few images are done before a compiler would be.
    worth_it = recipe.compiled and job.limit is None and _compiler()
    compiled = worth_it if job.compiled is None else job.compiled
    epochs = recipe.epochs if job.epochs is None else job.epochs
    return dataclasses.replace(
        recipe,
        epochs=epochs,
        # What is written must have learnt at the network's own size.
        stages=recipe.stages if sum(stage.epochs for stage in recipe.stages) < epochs else (),
        batch_size=job.batch_size or recipe.batch_size,
        lr=recipe.lr if job.lr is None else job.lr,
        precision=job.precision or _precision(scratch, job.device),
        compiled=compiled,
    )


def _precision(recipe: TrainRecipe, device: str) -> str:
    """bf16 where the recipe wants it and the hardware computes in it."""
    import torch

    if device_of(device) == "cuda":
        able = torch.cuda.is_bf16_supported()
    else:
        able = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return recipe.precision if able else "fp32"


def _compiler() -> bool:
    """Whether torch.compile finds what it needs."""
    return any(shutil.which(name) for name in ("g++", "clang++"))


def device_of(wanted: str) -> str:
    """ "cpu" or "cuda"; a ``TrainingError`` where there is no GPU and one is wanted."""
    import torch

    if wanted == "cuda" and not torch.cuda.is_available():
        raise TrainingError("--device cuda: torch sees no GPU here; leave it out for the CPU")
    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return wanted
