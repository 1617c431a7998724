"""Which weights a variant gets: pure, so that a plan can name them before anything is built.

A checkpoint is a file ``<variant>_<name>.safetensors``: in a folder of the user's
(``--checkpoints``), or among those that come with the package.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from export.variants import OWN, VARIANTS, Variant

DEFAULT = "default"
"""A checkpoint of the variant's own where there is one, seeded weights otherwise."""
SEEDED = "seeded"
IMAGENET = "imagenet"
RESERVED_NAMES = (DEFAULT, SEEDED, IMAGENET, OWN)
"""What no checkpoint may be called: they mean something to ``--weights``."""
TRAINED = Path(__file__).parent / "trained"
"""The checkpoints that come with the package; how they were made stands in docs/training.md."""


_MOST_HEADER_BYTES = 100_000_000
"""As the format itself limits it."""


class CheckpointsError(ValueError):
    """A folder of checkpoints that can't be used; the message names the remedy."""


def weights_of(variant: str, weights: str = DEFAULT, checkpoints: str = "") -> str:
    """``"seeded"``, ``"imagenet"`` or the path of a file: what ``variant`` is built with.

    Of a given model ``"own"``, whatever else is said.

    ``weights`` says the same for all variants, unless it is ``"default"``: then the
    variant's own checkpoint is looked for in the folder ``checkpoints``, after it those of
    the networks that it was made from without changing the layers' kinds (a pruned one
    takes its parent's and is pruned from them), then both among the packaged ones.
    Raises ``CheckpointsError`` for a folder that isn't there or that has two for one variant.
    """
    if VARIANTS[variant].given:
        return OWN
    if weights != DEFAULT:
        return weights
    for folder in (*([Path(checkpoints)] if checkpoints else []), TRAINED):
        for row in _same_layers(VARIANTS[variant]):
            found = checkpoint_of(row.name, folder)
            if found is not None:
                return str(found)
    return SEEDED


def checkpoint_of(variant: str, folder: Path) -> Path | None:
    """The checkpoint of exactly this variant in ``folder``, ``None`` where there is none."""
    found = sorted(folder.glob(f"{variant}_*.safetensors"))
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise CheckpointsError(
            f"{folder} has {len(found)} checkpoints of {variant} ({names}): move all but one "
            "elsewhere, or name one with --weights"
        )
    return found[0] if found else None


def said(path: Path) -> dict[str, str]:
    """What a .safetensors file says of itself in its header, read without any library.

    Empty for any other file, and for none: nothing is known of it then.
    """
    try:
        with path.open("rb") as stream:
            size = int.from_bytes(stream.read(8), "little")
            header = json.loads(stream.read(size)) if size <= _MOST_HEADER_BYTES else {}
    except (OSError, ValueError, RecursionError):
        return {}
    found = header.get("__metadata__") if isinstance(header, dict) else None
    if not isinstance(found, dict):
        return {}
    return {key: value for key, value in found.items() if isinstance(value, str)}


def learnt_from(metadata: Mapping[str, str]) -> list[str]:
    """The data of all trainings that led to a checkpoint, as it says; empty text: unknown.

    Those of a teacher are among them: what it has seen, it has taught.
    """
    try:
        found = json.loads(metadata.get("learnt_from", "null"))
    except (ValueError, RecursionError):
        found = None
    if isinstance(found, list):
        return [one.strip() if isinstance(one, str) else "" for one in found]
    own = metadata.get("data", "").strip()
    # Files older than that list say of a parent, or of a teacher, only that there is one.
    led = "parent" in metadata or "taught by " in metadata.get("trained", "")
    return ["", own] if led else [own]


def check_folder(checkpoints: str, weights: str) -> None:
    """Raise ``CheckpointsError`` for a folder that says nothing, or says it in vain."""
    if not checkpoints:
        return
    folder = Path(checkpoints)
    if weights != DEFAULT:
        raise CheckpointsError(
            f"--checkpoints {folder} and --weights {weights} both say which weights: give one"
        )
    if not folder.is_dir():
        raise CheckpointsError(f"--checkpoints {folder} is not a folder")
    if not any(checkpoint_of(name, folder) for name in VARIANTS):
        raise CheckpointsError(
            f"--checkpoints {folder} has no file VARIANT_NAME.safetensors of a known variant; "
            "python -m export.train writes such files"
        )


def _same_layers(variant: Variant) -> Iterator[Variant]:
    """The variant itself, then its ancestors as long as they are built alike."""
    row: Variant | None = variant
    while row is not None and row.builder == variant.builder:
        yield row
        row = VARIANTS[row.parent] if row.parent and not row.own_weights else None
