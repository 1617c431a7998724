"""``--model``: ask a child what stands in the user's files, and make variants of them."""

from __future__ import annotations

import functools
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bench.options import GIVEN_FLAGS, Options, UsageError
from export.classes import conflict
from export.given import (
    DESCRIBED,
    Described,
    GivenError,
    Said,
    checked,
    settings_beside,
    variant,
)
from export.images import ImageFolder
from export.memory import limit_own
from export.printable import printable
from export.variants import Variant, register

_LIMIT_S = 300.0
_LEAST_BYTES = 4 << 30
_PER_FILE_BYTE = 4
"""Of memory, to read a graph whose weights stand inside it."""


def opened(options: Options) -> Options:
    """``options`` with the variants that ``--model`` stands for, which are known from now on.

    Raises :class:`UsageError` for a file that can't be used, or of which too little is known, and
    with ``--folder-order`` for one that has not as many classes as the data.
    """
    if not options.model:
        return options
    try:
        flags = checked(_flags(options), "flags")
        rows = tuple(_variant(Path(name), flags) for name in options.model)
        if options.folder_order:
            rows = tuple(_named_by_folders(row, Path(options.data)) for row in rows)
        register(rows)
    except (GivenError, ValueError) as exc:
        # Names in a file may hold anything.
        raise UsageError(f"--model: {printable(str(exc))}") from exc
    return replace(options, given=rows)


def _flags(options: Options) -> Mapping[str, Any]:
    """What the command line says about the models."""
    named = {name: getattr(options, name) for name in GIVEN_FLAGS}
    return {name: value for name, value in named.items() if value not in (None, ())}


def _variant(file: Path, flags: Said) -> Variant:
    if not file.is_file():
        raise GivenError(f"{file} is no file")
    if file.suffix.lower() != ".onnx":
        raise GivenError(
            f"{file} is no .onnx file: export it first (torch.onnx.export, tf2onnx, or "
            "python -m export.run for a variant of this project)"
        )
    return variant(describe(file), flags, settings_beside(file))


def _named_by_folders(row: Variant, data: Path) -> Variant:
    """A model whose classes nobody names, with those of the data's folders; others as they are."""
    assert row.given is not None
    if row.given.class_names:
        return row
    try:
        names = ImageFolder.open(data).class_names
    except OSError as exc:
        raise GivenError(f"--data: {exc}") from exc
    unnamed = ("",) * row.classes
    if reason := conflict(row.given.file, unnamed, str(data), names, made_up=True):
        raise GivenError(f"{reason}: --folder-order takes a folder for each output")
    return replace(row, given=replace(row.given, class_names=names, assumed_names=True))


def describe(file: Path) -> Described:
    """What a child read in the file, with a limit on its memory and its time.

    Raises ``GivenError``; nothing that stands in the file can harm this process.
    """
    size = file.stat().st_size
    most_bytes = _LEAST_BYTES + _PER_FILE_BYTE * size
    command: Sequence[str] = (sys.executable, "-m", "export.adopt", str(file))
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            timeout=_LIMIT_S,
            check=False,
            preexec_fn=functools.partial(limit_own, most_bytes),
        )
    except subprocess.TimeoutExpired as exc:
        raise GivenError(f"{file} could not be read within {_LIMIT_S:.0f} s") from exc
    said = done.stderr.decode(errors="replace").strip()
    if "ModuleNotFoundError" in said:
        raise GivenError(f"{file} can't be read without pip install 'deploybench[build]'")
    if done.returncode == 2 and said:
        raise GivenError(said.splitlines()[-1])
    try:
        return DESCRIBED.validate_json(done.stdout)
    except ValidationError as exc:
        how = (
            f"exit code {done.returncode}" if done.returncode >= 0 else f"signal {-done.returncode}"
        )
        last = said.splitlines()[-1] if said else "no message"
        raise GivenError(f"{file} can't be read: its reader ended with {how} ({last})") from exc
