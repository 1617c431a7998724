"""Whether weights may have learnt the images that a search decides by."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from export.checkpoints import SEEDED, learnt_from, said
from export.images import ImageFolder

PREFIX = 12
"""Hexadecimal digits of the data's fingerprint that a checkpoint names."""


def doubt(weights: str, folder: ImageFolder, train: str) -> str:
    """A warning about ``weights`` (as ``weights_of`` has them); empty where there is no reason.

    ``train`` is the fingerprint of the train part of ``folder``: what is known to have
    learnt from just this part, its parents included, has not seen the validation part.
    """
    why = "" if weights == SEEDED else _why(said(Path(weights)), folder, train)
    if not why:
        return ""
    return (
        f"{Path(weights).name} may have learnt the validation images, by which is decided here: "
        f"{why}. INT8 may lose more on new images than on them"
    )


def _why(metadata: Mapping[str, str], folder: ImageFolder, train: str) -> str:
    sets = learnt_from(metadata)
    if not sets or not sets[-1]:
        return "it does not say what it learnt from"
    if not all(sets):
        return "it does not say what its parent or its teacher learnt from"
    other = next((one for one in sets if one.split()[-1] != train[:PREFIX]), "")
    if not other:
        return ""
    ours = f"{folder.path.stem} {train[:PREFIX]}"
    return f"it learnt from {other!r}, and the train part of this data is {ours!r}"
