"""What a training starts from or is taught by: a checkpoint, checked against the data."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from export.checkpoint_file import digest, read_metadata
from export.classes import conflict
from export.train_plan import TrainingError
from export.variants import VARIANTS
from export.weights import State, Surgery, Weights, read_checkpoint

HEADS = ("classifier", "dense", "fc")
"""What the networks' heads are called; everything else is backbone."""
_COUNTER = "num_batches_tracked"


@dataclass(frozen=True, eq=False)
class Parent:
    """A checkpoint and where it came from; ``first`` and ``input`` as its metadata have them."""

    path: Path
    sha256: str
    weights: Weights
    metadata: Mapping[str, str]

    @property
    def label(self) -> str:
        """As it stands in a child's metadata."""
        return f"{self.path.name} {self.sha256[:12]}"

    @property
    def first(self) -> int | None:
        """The side of the square that images are squashed to first."""
        return self.weights.first

    @property
    def input_size(self) -> tuple[int, int] | None:
        """The size that it was trained for, where it says so."""
        return self.weights.learnt_size

    @property
    def variant(self) -> str:
        """By its metadata, or by its file's name."""
        return self.metadata.get("variant", self.path.stem.partition("_")[0])

    @property
    def steps(self) -> list[str]:
        """What was done to it, in order; a ``TrainingError`` where it says that in no list."""
        if "steps" in self.metadata:
            try:
                steps = json.loads(self.metadata["steps"])
            except (ValueError, RecursionError):
                steps = None
            if not isinstance(steps, list):
                raise TrainingError(
                    f"{self.path}: the metadata's 'steps' should be a JSON list of sentences, not "
                    f"{self.metadata['steps'][:50]!r}"
                )
            return [str(step) for step in steps]
        return [f"trained: {self.metadata['trained']}"] if "trained" in self.metadata else []


def read_parent(path: Path, flag: str) -> Parent:
    """The checkpoint in a file; a ``TrainingError`` that names ``flag`` where there is none."""
    if not path.is_file():
        raise TrainingError(f"{flag}: there is no file {path}")
    return Parent(path, digest(path), read_checkpoint(path), read_metadata(path))


def check_classes(parent: Parent, classes: Sequence[str], data: Path, remedy: str) -> None:
    """A ``TrainingError`` that names both sides where checkpoint and data have other classes."""
    theirs, unnamed = parent.weights.class_names, parent.weights.placeholder_names
    reason = conflict(str(parent.path), theirs, str(data), classes, made_up=unnamed, ordered=True)
    if reason:
        raise TrainingError(f"{reason}; {remedy}")
    if unnamed:
        raise TrainingError(
            f"{parent.path} does not name its {len(theirs)} classes: that they are those of "
            f"{data}, in the same order, would be a guess; {remedy}"
        )


def take(
    module: nn.Module, surgery: Surgery | None, parent: Parent, new_head: bool
) -> tuple[nn.Module, tuple[str, ...]]:
    """Load what fits of ``parent``, and operate; returns the module and the layers left new.

    The backbone must fit as a whole, before the surgery or after it. The head is
    taken as a whole or, where it is another, left as it was initialised. A
    ``TrainingError`` names the first thing in the backbone that doesn't fit.
    """
    state = parent.weights.state
    wrong = _misfits(module, state)
    if not wrong:
        new = _load(module, state, new_head)
        return (surgery(module) if surgery else module), new
    if surgery:
        module = surgery(module)
        after = _misfits(module, state)
        if not after:
            return module, _load(module, state, new_head)
        wrong = min(wrong, after, key=len)
    more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
    raise TrainingError(f"--from {parent.path} is no such network: {wrong[0]}{more}")


def _misfits(module: nn.Module, state: State) -> list[str]:
    """What of the backbone is missing, too much, or of another shape."""
    ours, theirs = (_backbone(tensors) for tensors in (module.state_dict(), state))
    return [
        *(f"it has no {key}" for key in ours if key not in theirs),
        *(f"it has {key}, which is not known" for key in theirs if key not in ours),
        *(
            f"its {key} has the shape {theirs[key]}, not {shape}"
            for key, shape in ours.items()
            if key in theirs and theirs[key] != shape
        ),
    ]


def _backbone(state: State) -> dict[str, tuple[int, ...]]:
    return {
        key: tuple(value.shape)
        for key, value in state.items()
        if not is_head(key) and _COUNTER not in key
    }


def is_head(key: str) -> bool:
    """Whether a key of a state dict is the head's."""
    return key.partition(".")[0] in HEADS


def _load(module: nn.Module, state: State, new_head: bool) -> tuple[str, ...]:
    """Load the backbone, and the head if all of it fits; returns the head's keys otherwise."""
    head = {key: value for key, value in module.state_dict().items() if is_head(key)}
    fits = not new_head and all(
        key in state and state[key].shape == value.shape
        for key, value in head.items()
        if _COUNTER not in key
    )
    taken: dict[str, Tensor] = {
        key: value for key, value in state.items() if fits or not is_head(key)
    }
    module.load_state_dict(taken, strict=False)
    return () if fits else tuple(head)


def variant_of(parent: Parent, flag: str) -> str:
    """The variant that a checkpoint is of; a ``TrainingError`` where it doesn't say."""
    if parent.variant not in VARIANTS:
        raise TrainingError(f"{parent.path} doesn't say which variant it is: name it with {flag}")
    return parent.variant
