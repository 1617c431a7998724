"""One training from its options to its checkpoint."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import json
import platform
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from export import augment, parents
from export.checkpoint_file import described, write_checkpoint
from export.checkpoints import learnt_from
from export.courses import Course, ImageCourse, Normaliser, Taught, judged, precision
from export.distil import Teacher
from export.features import FeatureCourse, Features, head_of, stored
from export.fit import Fit, Hooks
from export.images import Entry, ImageFolder, Preprocess, spread
from export.models.vgg import VGG, GlobalAveragePool2d
from export.norms import folded, recalibrate, with_norms
from export.parents import Parent, is_head
from export.pixels import Pixels, decoded, store_size
from export.train_job import Job, Said, Tell, check, device_of, recipe_of
from export.train_log import EpochLine, LogError, LogFile, TrainLog, read_log
from export.train_plan import Plan, TrainingError, seed_of
from export.variants import VARIANTS, Variant
from export.weights import apply

LIMIT_SEED = 0
_AT_ONCE = 32
"""Images of a batch when nothing is learnt."""


def train(job: Job, tell: Tell) -> Path:
    """Train one variant; returns its checkpoint.

    Learns from the part ``train`` of the data and decides by ``val``; ``test`` is
    never read. Raises ``TrainingError``, ``ImagesError`` or ``WeightsError`` in
    sentences for people, and ``OSError`` where a file can't be read or written.
    """
    torch.set_num_threads(job.threads)
    check(job)
    return _Training(job, tell).run()


class _Training:
    """What is known before the first step, and the parts that are put together for it."""

    def __init__(self, job: Job, tell: Tell) -> None:
        self.job, self._tell = job, tell
        self.variant = VARIANTS[job.variant]
        self.folder = _opened(job.data)
        self.train, self.val = (_limited(self.folder, part, job.limit) for part in ("train", "val"))
        self.parent = self._read(job.parent, "--from", compare=not job.new_head)
        self._before = self.parent.steps if self.parent else []
        self.teacher = self._read(job.teacher, "--teacher")
        self.plan = self._planned()
        self._new: tuple[str, ...] = ()

    def run(self) -> Path:
        """See ``train``."""
        job = self.job
        if self._finished():
            self._say(f"{job.checkpoint} is there already, made by these very options")
            return job.checkpoint
        module = self._built()
        log = LogFile(job.log, self._header(module))
        log.finish(
            self._learnt(module, log) if self.plan.recipe.epochs else self._as_it_is(module, log)
        )
        job.state.unlink(missing_ok=True)
        return job.checkpoint

    def _learnt(self, module: nn.Module, log: LogFile) -> dict[str, Any]:
        """All epochs; what is left of them where an earlier start was interrupted."""
        keep, step = (lambda line: self._keep(module, line.val_accuracy)), self._step
        with ExitStack() as stack:
            learner, course = self._lessons(module, stack)
            hooks = Hooks(keep, self._spoken(log), step)
            fit = Fit(self.plan, learner, course, self.job.state, hooks, self.job.checkpoint)
            if fit.resume():
                self._say(f"goes on after epoch {len(fit.lines)}")
            log.record(fit.lines)
            self._steps = fit.steps
            self._told("training", fit.steps_done, fit.steps)
            best = fit.run()
        return {"best_epoch": best.epoch, "val_accuracy": best.val_accuracy}

    def _as_it_is(self, module: nn.Module, log: LogFile) -> dict[str, Any]:
        """No epoch: only what was done to the network before."""
        score = judged(module, self._validation(self.plan.size), self._normaliser())
        self._keep(module, score.accuracy)
        log.record(())
        self._say(f"nothing learnt, val {score.accuracy:.2%} (loss {score.loss:.3f}), kept")
        return {"best_epoch": 0, "val_accuracy": score.accuracy}

    # --- what it starts from ------------------------------------------------

    def _read(self, path: Path | None, flag: str, compare: bool = True) -> Parent | None:
        if path is None:
            return None
        parent = parents.read_parent(path, flag)
        if compare:
            other = " or train a new head (--new-head)" if flag == "--from" else ""
            remedy = f"give data of those classes{other}"
            parents.check_classes(parent, self.folder.class_names, self.job.data, remedy)
        return parent

    def _planned(self) -> Plan:
        job = self.job
        size = job.size or self.variant.input_size
        views = job.views or (1 if job.head_only else None)
        plan = Plan(
            variant=job.variant,
            recipe=recipe_of(job),
            size=size,
            classes=self.folder.class_names,
            data=(self.folder.fingerprint(self.train), self.folder.fingerprint(self.val)),
            seed=job.seed,
            first=job.first,
            new_head=job.new_head,
            head_only=job.head_only,
            freeze_before=job.freeze_before,
            recalibrate=job.recalibrate,
            temperature=job.temperature,
            alpha=job.alpha,
            views=views,
            patience=job.patience,
            threads=job.threads,
            device=device_of(job.device),
        )
        if self.teacher:
            variant, (height, width) = self._teacher_is(self.teacher)
            teacher = f"{self.teacher.sha256} {variant.name} {height}x{width}"
            plan = dataclasses.replace(plan, teacher=teacher)
        return self._inherited(plan) if self.parent else plan

    def _inherited(self, plan: Plan) -> Plan:
        """What a child takes over: how its parent's input was prepared."""
        assert self.parent is not None
        square = plan.size[0] == plan.size[1]
        return dataclasses.replace(
            plan,
            parent=self.parent.sha256,
            mean=self.parent.weights.mean,
            std=self.parent.weights.std,
            first=self.job.first or (self.parent.first if square else None),
        )

    def _built(self) -> nn.Module:
        """The network as it is before the first step."""
        torch.manual_seed(seed_of(self.plan.seed, "weights"))
        try:
            module: nn.Module = _resolved(self.variant.builder)(
                len(self.plan.classes), self.plan.size
            )
        except ValueError as exc:
            raise TrainingError(f"--size: {exc}") from exc
        if self.parent:
            surgery = _resolved(self.variant.surgery) if self.variant.surgery else None
            module, self._new = parents.take(module, surgery, self.parent, self.plan.new_head)
            if self._new:
                self._say(
                    f"starts from {self.parent.label} with a new head: {', '.join(self._new)}"
                )
        elif self.plan.recipe.norms and isinstance(module, VGG):
            module = with_norms(module)
        self._check_stages(module)
        module = _placed(module, self.plan.device)
        self._freeze(module)
        if self.plan.recalibrate:
            self._recalibrate(module)
        return module

    def _check_stages(self, module: nn.Module) -> None:
        """Small images first: not with a head that was built for one size."""
        if self.plan.recipe.stages and not _takes_any_size(module):
            raise TrainingError(
                f"{self.plan.variant} takes images of one size only, and from scratch small ones "
                "come first: train its relative with global average pooling, and then this one "
                "with --from THAT --head-only"
            )

    def _freeze(self, module: nn.Module) -> None:
        names = [name for name, _ in module.named_parameters()]
        start = 0
        if self.plan.head_only:
            frozen = {name for name in names if not is_head(name)}
        elif self.plan.freeze_before:
            layer = self.plan.freeze_before
            start = next((i for i, n in enumerate(names) if n.startswith(f"{layer}.")), -1)
            if start < 0:
                layers = dict.fromkeys(name.rpartition(".")[0] for name in names)
                raise TrainingError(
                    f"--freeze-before: {self.plan.variant} has no layer {layer!r} with weights; "
                    f"it has {', '.join(layers)}"
                )
            frozen = set(names[:start])
        else:
            return
        for name, parameter in module.named_parameters():
            parameter.requires_grad = name not in frozen

    def _recalibrate(self, module: nn.Module) -> None:
        batches = self._plain_batches(self._plain(), "BatchNorm statistics")
        with precision(self.plan):
            layers = recalibrate(module, batches)
        if not layers:
            raise TrainingError(f"--recalibrate-norms: {self.plan.variant} has no BatchNorm")

    # --- what it learns from --------------------------------------------------

    def _lessons(self, module: nn.Module, stack: ExitStack) -> tuple[nn.Module, Course]:
        """What is trained, and the course for it."""
        if self.plan.head_only:
            folder = tempfile.TemporaryDirectory(prefix="features-", dir=self.job.scratch)
            where = stack.enter_context(folder)
            head = head_of(module)
            return head, FeatureCourse(self.plan, head, *self._features(module, Path(where)))
        self._say_untargeted()
        course = ImageCourse(
            self.plan,
            module,
            self._stock(),
            self._validation,
            teacher=self._taught(),
            compiled=self._compiled if self.plan.recipe.compiled else lambda plain: plain,
        )
        return module, course

    def _compiled(self, module: nn.Module) -> nn.Module:
        # Small steps keep a GPU waiting for the next call: let it replay a graph of them.
        self._say("the first step compiles the network, which takes a minute or two")
        mode = "reduce-overhead" if self.plan.device == "cuda" else None
        return torch.compile(module, mode=mode)  # type: ignore[return-value]

    def _say_untargeted(self) -> None:
        wanted = self.plan.recipe.augmentation.classes
        if absent := [name for name in wanted if name not in self.plan.classes]:
            self._say(f"the recipe varies {', '.join(wanted)}; the data has no {', '.join(absent)}")

    def _stock(self) -> Pixels:
        """The training images, with room for crops."""
        crops = self.plan.recipe.augmentation.crop < 1
        size = store_size(self.plan.size, self.plan.first, crops)
        return self._decoded(self.train, size, "training images")

    def _plain(self) -> Pixels:
        """The training images as the network will be given them."""
        return self._decoded(self.train, self.plan.size, "training images")

    def _validation(self, size: tuple[int, int]) -> Pixels:
        return self._decoded(self.val, size, "validation images")

    def _decoded(self, entries: Sequence[Entry], size: tuple[int, int], what: str) -> Pixels:
        preprocess = dataclasses.replace(self.plan.preprocess, size=size)
        return _decoded(self.folder, tuple(entries), preprocess, _Quiet(self._counter(what)))

    def _plain_batches(self, pixels: Pixels, what: str) -> Iterator[Tensor]:
        normalise = self._normaliser()
        for images in torch.split(pixels.images, _AT_ONCE):
            yield normalise(images.float() / 255)
            self._told(what, len(images), len(pixels))

    def _features(self, module: nn.Module, folder: Path) -> tuple[Features, Features]:
        """What the backbone makes of both parts; the validation part's in fp32."""
        plain, val = self._plain(), self._validation(self.plan.size)
        views = self.plan.views or 1
        with precision(self.plan):
            train = stored(
                self._view_batches(plain, views),
                module,
                views * len(plain),
                plain.labels,
                folder / "train.npy",
            )
        batches = self._plain_batches(val, "features of the validation images")
        return train, stored(
            batches, module, len(val), val.labels, folder / "val.npy", kind=np.float32
        )

    def _view_batches(self, plain: Pixels, views: int) -> Iterator[Tensor]:
        """The images as they are, and then varied, once for each further view."""
        yield from self._plain_batches(plain, "features")
        if views == 1:
            return
        stock, how, normalise = self._stock(), self.plan.recipe.augmentation, self._normaliser()
        varies = augment.chosen(how, self.plan.classes)
        for view in range(2, views + 1):
            numbers = augment.draw(len(stock), seed_of(self.plan.seed, "vary", view))
            for index in torch.split(torch.arange(len(stock)), _AT_ONCE):
                yield normalise(
                    augment.pictures(stock, index, numbers, how, self.plan.size, varies)
                )
                self._told(f"features of view {view}", len(index), len(stock))

    def _taught(self) -> Taught | None:
        """The teacher, ready to look at the training images."""
        if self.teacher is None:
            return None
        row, size = self._teacher_is(self.teacher)
        try:
            module = _resolved(row.builder)(len(self.plan.classes), size)
        except ValueError as exc:
            raise TrainingError(f"--teacher-size: {exc}") from exc
        surgery = _resolved(row.surgery) if row.surgery else None
        module = apply(module, surgery, self.teacher.weights)
        first = self.teacher.first or self.job.first
        stock = self._decoded(self.train, store_size(size, first, True), "images for the teacher")
        weights, device = self.teacher.weights, torch.device(self.plan.device)
        return Teacher(
            self.plan,
            _placed(module, self.plan.device),
            stock,
            size,
            Normaliser(weights.mean, weights.std, device),
            look=lambda view, done, total: self._told(
                f"the teacher's answers to view {view}", done, total
            ),
        )

    def _teacher_is(self, teacher: Parent) -> tuple[Variant, tuple[int, int]]:
        """The variant and the input size, height and width, of a teacher's checkpoint."""
        name = self.job.teacher_variant or parents.variant_of(teacher, "--teacher-variant")
        if name not in VARIANTS:
            raise TrainingError(f"--teacher-variant: no variant is called {name!r}")
        row = VARIANTS[name]
        return row, self.job.teacher_size or teacher.input_size or row.input_size

    def _normaliser(self) -> Normaliser:
        return Normaliser(self.plan.mean, self.plan.std, torch.device(self.plan.device))

    # --- what is said and written ---------------------------------------------

    def _say(self, text: str) -> None:
        self._tell(Said(self.job.variant, text))

    def _told(self, what: str, done: int, total: int) -> None:
        self._tell(Said(self.job.variant, what=what, done=done, total=total))

    def _counter(self, what: str) -> Callable[[int, int], object]:
        return lambda done, total: self._told(what, done, total)

    def _step(self) -> None:
        self._told("training", 1, self._steps)

    def _spoken(self, log: LogFile) -> Callable[[tuple[EpochLine, ...]], object]:
        def record(lines: tuple[EpochLine, ...]) -> None:
            log.record(lines)
            self._say(lines[-1].text())

        return record

    def _keep(self, module: nn.Module, accuracy: float) -> None:
        data = f"{self.job.data.stem} {self.plan.data[0][:12]}"
        metadata = described(
            self.plan.variant,
            self.plan.classes,
            self.plan.preprocess,
            data=data,
            trained=self._trained(),
            steps=[*self._before, *self._done()],
            accuracy=accuracy,
            parent=self.parent.label if self.parent else None,
        )
        if before := [one for one in (self.parent, self.teacher) if one]:
            sets = (name for one in before for name in learnt_from(one.metadata))
            metadata["learnt_from"] = json.dumps([*sets, data])
        write_checkpoint(self.job.checkpoint, folded(module), metadata, self.job.half)

    def _done(self) -> Iterator[str]:
        """What was done here, in order, one sentence each."""
        if self.variant.surgery and self._operates():
            yield f"operated: {self.variant.story}"
        height, width = self.plan.size
        if self.plan.recalibrate:
            yield (
                f"BatchNorm statistics taken anew from {len(self.train)} training images "
                f"at {height}x{width}, {self.plan.recipe.precision}"
            )
        if self.plan.recipe.epochs:
            kind = "trained" if self.parent is None else "fine-tuned"
            yield f"{'head trained' if self.plan.head_only else kind}: {self._trained()}"

    def _operates(self) -> bool:
        """Whether the surgery is done here: the parent is another variant."""
        assert self.parent is not None
        return self.parent.variant != self.plan.variant

    def _trained(self) -> str:
        """One sentence."""
        plan, recipe = self.plan, self.plan.recipe
        height, width = plan.size
        parts = [
            f"{recipe.epochs} {'epoch' if recipe.epochs == 1 else 'epochs'} "
            f"{'on stored features ' if plan.head_only else ''}at {height}x{width}",
            f"{ {'adam': 'Adam', 'adamw': 'AdamW'}[recipe.optimizer] } {recipe.lr:g}",
            f"weight decay {recipe.weight_decay:g}",
            f"batch size {recipe.batch_size}",
            recipe.precision,
            f"seed {plan.seed}",
        ]
        if plan.freeze_before:
            parts.append(f"all before {plan.freeze_before} frozen")
        if self.teacher:
            parts.append(
                f"taught by {self.teacher.label} at temperature {plan.temperature:g}, "
                f"its share {plan.alpha:g}"
            )
        return f"{', '.join(parts)}; the best epoch on {len(self.val)} validation images"

    def _header(self, module: nn.Module) -> dict[str, Any]:
        return {
            "variant": self.plan.variant,
            "name": self.job.name,
            "key": self.plan.key(),
            "half": self.job.half,
            "plan": self.plan.as_dict(),
            "images": {"train": len(self.train), "val": len(self.val)},
            "parameters": sum(p.numel() for p in folded(module).parameters()),
            "versions": {"python": platform.python_version(), "torch": torch.__version__},
            "cpu": torch.backends.cpu.get_cpu_capability(),
            "gpu": torch.cuda.get_device_name() if self.plan.device == "cuda" else None,
        }

    def _finished(self) -> bool:
        """Whether the checkpoint is there already; a ``TrainingError`` where it is another's."""
        if not self.job.checkpoint.exists():
            return False
        try:
            log = read_log(self.job.log)
        except LogError:
            log = None
        if log is None or not self._made(log):
            raise TrainingError(
                f"{self.job.checkpoint} was made with other options or data: "
                "give this one another --name, or remove it"
            )
        return log.done

    def _made(self, log: TrainLog) -> bool:
        """Whether a log is of this very plan, and its checkpoint stored alike."""
        return log.header.get("key") == self.plan.key() and log.half == self.job.half


class _Quiet:
    """A counter that is equal to every other: what is decoded doesn't depend on who listens."""

    def __init__(self, count: Callable[[int, int], object]) -> None:
        self.count = count

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Quiet)

    def __hash__(self) -> int:
        return 0


@functools.lru_cache(maxsize=1)
def _opened(path: Path) -> ImageFolder:
    """Kept, because one process trains several variants on it."""
    return ImageFolder.open(path)


@functools.lru_cache(maxsize=6)
def _decoded(
    folder: ImageFolder, entries: tuple[Entry, ...], preprocess: Preprocess, listener: _Quiet
) -> Pixels:
    return decoded(folder, entries, preprocess, lambda n: listener.count(n, len(entries)))


def _limited(folder: ImageFolder, part: str, limit: int | None) -> Sequence[Entry]:
    entries = folder.part(part)
    return entries if limit is None else spread(entries, limit, LIMIT_SEED)


def _placed(module: nn.Module, device: str) -> nn.Module:
    """On its device, in the layout that convolutions are fastest in."""
    return module.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def _takes_any_size(module: nn.Module) -> bool:
    """Whether the head averages the maps, whatever their size."""
    if isinstance(module, VGG):
        return isinstance(module.avgpool, GlobalAveragePool2d)
    flattens = getattr(module, "flatten", False) or (
        hasattr(module, "blocks") and module.dense is not None
    )
    return not flattens


def _resolved(path: str) -> Any:
    """What a dotted path like ``"export.models.vgg:vgg19"`` names."""
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)
