"""Where trained weights come from: a file, or an official URL with its sha256.

Nothing in a checkpoint is trusted: safetensors hold no code, pickles are read
by torch's weights-only unpickler, a download counts only with the right hash.
"""

from __future__ import annotations

import hashlib
import pickle
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from export.build import WeightsFacts
from export.download import IMAGENET_MEAN, IMAGENET_STD, Official, Triple, WeightsError, download
from export.metadata import (
    class_names,
    first,
    head_outputs,
    learnt_size,
    placeholders,
    short_name,
    triple,
)

State = Mapping[str, Tensor]
Surgery = Callable[[nn.Module], nn.Module]


_PICKLES = (".pt", ".pth", ".bin", ".ckpt")
_MAX_CHECKPOINT_BYTES = 8 << 30


@dataclass(frozen=True, eq=False)
class Weights:
    """Trained weights and what has to be known to use them.

    ``name`` is the short name that stands in row keys and headings, ``key`` a
    sha256 prefix of what determines the values. ``class_names`` are in output
    order; ``placeholder_names`` says that they were made up. ``mean`` and
    ``std`` are of RGB in 0..1, ``first`` as in ``export.images.Preprocess``,
    ``learnt_size`` as in ``export.build.WeightsFacts``.
    ``state`` has fp32 tensors under our own keys.
    """

    name: str
    key: str
    class_names: tuple[str, ...]
    placeholder_names: bool
    state: State
    mean: Triple = IMAGENET_MEAN
    std: Triple = IMAGENET_STD
    first: int | None = None
    learnt_size: tuple[int, int] | None = None


OFFICIAL: Mapping[str, Official] = MappingProxyType(
    {
        # torchvision's VGG19_Weights.IMAGENET1K_V1
        "vgg19": Official("https://download.pytorch.org/models/vgg19-dcbb9e9d.pth", "dcbb9e9d"),
        # Cadene/pretrained-models.pytorch, converted from Keras
        "xception": Official(
            "http://data.lip6.fr/cadene/pretrainedmodels/xception-43020ad28.pth",
            "43020ad28",
            mean=(0.5, 0.5, 0.5),
            std=(0.5, 0.5, 0.5),
        ),
    }
)
"""Family -> its official ImageNet checkpoint."""


# --- a file -----------------------------------------------------------------


def read_checkpoint(path: Path, name: str | None = None) -> Weights:
    """Read a .safetensors file or a pickled state dict (.pt, .pth, .bin, .ckpt).

    fp16 and bf16 become fp32; ``{"state_dict": ...}``, ``{"model": ...}`` and a
    ``module.`` prefix are unwrapped. Class names, mean and std come from the
    metadata of a safetensors file (``classes`` as a JSON list, ``mean`` and
    ``std`` as "0.485,0.456,0.406", see ``export.metadata``); without names there are
    placeholders, as many as the head has outputs. The name is the file's stem without a leading
    variant name: ``vgg19-gap_plants40`` is "plants40". An official ImageNet
    file that was downloaded by hand is known by its hash.

    Raises ``WeightsError`` for what can't be read, is no checkpoint of ours, or
    contradicts itself.
    """
    digest = _digest(path)
    published = (row for row in OFFICIAL.values() if digest.startswith(row.sha256_prefix))
    official = next(published, None)
    if name is None:
        name = "imagenet" if official else short_name(path)
    return _weights(path, digest, name, official)


def class_count(state: State) -> int:
    """The number of classes that the head puts out; see ``export.metadata.head_outputs``."""
    return head_outputs({key: tuple(value.shape) for key, value in state.items()})


def _digest(path: Path) -> str:
    """The file's sha256; a ``WeightsError`` where there is no such file."""
    try:
        if path.stat().st_size > _MAX_CHECKPOINT_BYTES:
            raise WeightsError(
                f"{path} is larger than {_MAX_CHECKPOINT_BYTES >> 30} GiB: is it a checkpoint?"
            )
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as exc:
        reason = exc.strerror or exc
        raise WeightsError(f"{path} can't be read ({reason}): check --weights") from exc


def _weights(path: Path, digest: str, name: str, official: Official | None) -> Weights:
    """The weights in a file whose hash is known."""
    state, metadata = _read_state(path)
    try:
        if official:
            state = _renormalised(state, official.mean, official.std)
        count = class_count(state)
        names = class_names(metadata, count)
        mean = triple(metadata, "mean", IMAGENET_MEAN)
        std = triple(metadata, "std", IMAGENET_STD)
        resized, size = first(metadata), learnt_size(metadata)
    except WeightsError as exc:
        raise WeightsError(f"{path}: {exc}") from exc
    made_up = placeholders(count)
    return Weights(name, digest[:16], names or made_up, not names, state, mean, std, resized, size)


def _read_state(path: Path) -> tuple[dict[str, Tensor], Mapping[str, str]]:
    """Tensors under our keys, and the metadata, which a pickle has none of."""
    if path.suffix == ".safetensors":
        raw, metadata = _read_safetensors(path)
    elif path.suffix in _PICKLES:
        raw, metadata = _read_pickle(path), {}
    else:
        known = ", ".join((".safetensors", *_PICKLES))
        raise WeightsError(f"{path} is not a checkpoint by its name: it should end in {known}")
    if not raw:
        raise WeightsError(f"{path} holds no tensors: it should be a state dict")
    for key, value in raw.items():
        if not isinstance(value, Tensor):
            raise WeightsError(
                f"{path} is not a state dict: {key!r} is of type {type(value).__name__}; "
                "save model.state_dict()"
            )
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise WeightsError(f"{path}: {key} holds NaN or infinity; was the training stable?")
    return {_our_key(key): _our_value(key, value) for key, value in raw.items()}, metadata


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], Mapping[str, str]]:
    try:
        with safe_open(path, framework="pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (SafetensorError, OSError) as exc:
        raise WeightsError(
            f"{path} is truncated or not a safetensors file ({exc}): fetch or save it again"
        ) from exc


def _read_pickle(path: Path) -> dict[str, Any]:
    """The state dict in a pickle, out of its wrapping."""
    with _refusing_pickles(path), warnings.catch_warnings():
        # torch warns of formats that it then refuses: the refusal is enough.
        warnings.simplefilter("ignore")
        content = torch.load(path, map_location="cpu", weights_only=True)
    for wrapper in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    if not isinstance(content, dict):
        raise WeightsError(
            f"{path} holds a {type(content).__name__}, not a state dict: save model.state_dict()"
        )
    return {str(key): value for key, value in content.items()}


@contextmanager
def _refusing_pickles(path: Path) -> Iterator[None]:
    """What torch says of a file that it won't read, in a sentence of ours."""
    try:
        yield
    except pickle.UnpicklingError as exc:
        code = re.search(r"GLOBAL (\S+)", str(exc))
        if code:
            raise WeightsError(
                f"{path} is a pickle that would run code ({code[1]}) and is refused: "
                "save model.state_dict() alone, best as safetensors"
            ) from exc
        raise WeightsError(
            f"{path} is not a checkpoint that torch.save wrote: fetch or save it again"
        ) from exc
    except (EOFError, RuntimeError, OSError, KeyError, IndexError, ValueError) as exc:
        if "TorchScript" in str(exc):
            raise WeightsError(
                f"{path} is a TorchScript program, not a state dict: save model.state_dict()"
            ) from exc
        raise WeightsError(f"{path} is truncated or damaged: fetch or save it again") from exc


def _our_key(key: str) -> str:
    """The key without DataParallel's prefix, and the port's other name for its head."""
    return re.sub(r"^last_linear\.", "fc.", key.removeprefix("module."))


def _our_value(key: str, value: Tensor) -> Tensor:
    """fp32, and the 1x1 convolutions of old Xception files as such: they are stored 2-D."""
    if key.endswith("pointwise.weight") and value.ndim == 2:
        value = value[:, :, None, None]
    return value.float() if value.is_floating_point() else value


def _renormalised(state: State, mean: Triple, std: Triple) -> dict[str, Tensor]:
    """Weights for input in the ImageNet normalisation, from some trained with another.

    One run has one preprocessing, and official Xception weights expect 0.5
    where torchvision's expect the ImageNet mean. (p - mean) / std is an affine
    function of what we feed, and Xception's first convolution is unpadded and
    followed by a BatchNorm, so both take it up exactly.
    """
    if (mean, std) == (IMAGENET_MEAN, IMAGENET_STD):
        return dict(state)
    try:
        weight, running_mean = state["conv1.weight"], state["bn1.running_mean"]
    except KeyError as exc:
        raise WeightsError(f"there is no {exc}: this is not the official Xception") from exc
    ours_mean, ours_std = torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_STD)
    scale = ours_std / torch.tensor(std)
    shift = (ours_mean - torch.tensor(mean)) / torch.tensor(std)
    return {
        **state,
        "conv1.weight": weight * scale[:, None, None],
        "bn1.running_mean": running_mean - (weight * shift[:, None, None]).sum(dim=(1, 2, 3)),
    }


# --- into the module --------------------------------------------------------


def apply(module: nn.Module, surgery: Surgery | None, weights: Weights) -> nn.Module:
    """Load ``weights`` into ``module`` and operate; returns it in eval mode.

    Weights of the unoperated network are loaded first, those that already have
    the operated shapes afterwards, so that a pruned and fine-tuned checkpoint
    keeps what was pruned when it was made. Otherwise a ``WeightsError`` names
    the first key or shape that is wrong, on the side that comes closer.
    """
    wrong = _differences(module, weights.state)
    if not wrong:
        module.load_state_dict(weights.state)
        return (surgery(module) if surgery else module).eval()
    if surgery:
        module = surgery(module)
        wrong_after = _differences(module, weights.state)
        if not wrong_after:
            module.load_state_dict(weights.state)
            return module.eval()
        wrong = min(wrong, wrong_after, key=len)
    others = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
    raise WeightsError(f"weights {weights.name!r} don't fit: {wrong[0]}{others}")


def _differences(module: nn.Module, state: State) -> list[str]:
    """What keeps ``state`` from being loaded: missing keys, unexpected ones, shapes."""
    # BatchNorm's counters are absent from checkpoints older than themselves.
    expected, got = (
        {key: tuple(value.shape) for key, value in tensors.items() if "num_batches" not in key}
        for tensors in (module.state_dict(), state)
    )
    return [
        *(f"missing key {key}" for key in expected if key not in got),
        *(f"unexpected key {key}" for key in got if key not in expected),
        *(
            f"{key} should have the shape {shape}, not {got[key]}"
            for key, shape in expected.items()
            if key in got and got[key] != shape
        ),
    ]


# --- by name ----------------------------------------------------------------


def resolve(chosen: str, family: str, root: Path) -> Weights:
    """The weights for a variant family that ``--weights chosen`` means.

    ``chosen`` is "imagenet" (kept in a folder under ``root``) or a file.
    """
    if chosen == "imagenet":
        return imagenet(family, root / "weights")
    return read_checkpoint(Path(chosen))


def facts(chosen: str, root: Path) -> WeightsFacts:
    """What ``--weights chosen`` means for every variant, before anything is built.

    Reads a file; downloads nothing.
    """
    if chosen == "imagenet":
        key = "-".join(official.sha256_prefix for official in OFFICIAL.values())
        return WeightsFacts("imagenet", key=key)
    weights = resolve(chosen, "", root)
    return WeightsFacts(
        weights.name,
        key=weights.key,
        class_names=weights.class_names,
        placeholder_names=weights.placeholder_names,
        mean=weights.mean,
        std=weights.std,
        first=weights.first,
        learnt_size=weights.learnt_size,
    )


def imagenet(family: str, folder: Path, sources: Mapping[str, Official] = OFFICIAL) -> Weights:
    """The official ImageNet weights of a variant family, downloaded once into ``folder``.

    Raises ``WeightsError`` where there are none, where the download fails, and
    where its hash is not the published one; nothing is left behind then.
    """
    if family not in sources:
        known = ", ".join(sources)
        raise WeightsError(
            f"there are no official ImageNet weights for {family!r}, only for {known}: "
            "use --weights FILE or leave --weights out"
        )
    source = sources[family]
    path = folder / source.file_name
    if not path.is_file() or not _digest(path).startswith(source.sha256_prefix):
        download(source, path)
    return _weights(path, _digest(path), "imagenet", source)
