"""Write and read the .safetensors of a training: tensors, and in its metadata all that is known."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from export.fit import atomically
from export.images import Preprocess


def write_checkpoint(
    path: Path, module: nn.Module, metadata: Mapping[str, str], half: bool = False
) -> None:
    """The module's state dict as fp32; with ``half`` its matrices and filters as fp16.

    An ``OSError`` where the file can't be written.
    """
    state = {key: _stored(value, half) for key, value in module.state_dict().items()}
    try:
        atomically(path, lambda part: save_file(state, part, dict(sorted(metadata.items()))))
    except SafetensorError as exc:  # what safetensors makes of a disk that is full
        raise OSError(f"{path}: {exc}") from exc


def _stored(value: Tensor, half: bool) -> Tensor:
    value = value.detach().cpu().contiguous()
    # What has one dimension is small, and a variance may be too small for fp16.
    return value.half() if half and value.is_floating_point() and value.ndim > 1 else value


def read_metadata(path: Path) -> dict[str, str]:
    """A checkpoint's metadata; empty for a pickle, which has none."""
    if path.suffix != ".safetensors":
        return {}
    with safe_open(path, framework="pt") as file:
        return dict(file.metadata() or {})


def digest(path: Path) -> str:
    """The file's sha256."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def described(  # what a checkpoint says of itself
    variant: str,
    classes: Sequence[str],
    preprocess: Preprocess,
    *,
    data: str,
    trained: str,
    steps: Sequence[str],
    accuracy: float,
    parent: str | None,
) -> dict[str, str]:
    """The metadata, all strings; what is absent has no entry.

    ``data`` names the set and its fingerprint, ``parent`` the file that this was
    made from and its sha256; ``accuracy`` is the share on the validation part.
    """
    found = {
        "variant": variant,
        "classes": json.dumps(list(classes)),
        "mean": _numbers(preprocess.mean),
        "std": _numbers(preprocess.std),
        "input": f"{preprocess.size[0]}x{preprocess.size[1]}",
        "data": data,
        "trained": trained,
        "steps": json.dumps(list(steps)),
        "accuracy": json.dumps({"val": round(accuracy, 6)}),
    }
    if preprocess.first is not None:
        found["first"] = str(preprocess.first)
    if parent is not None:
        found["parent"] = parent
    return found


def _numbers(values: Sequence[float]) -> str:
    return ",".join(f"{value:g}" for value in values)
