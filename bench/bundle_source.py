"""The file of a measured row: from the store by its key, or built again as the run built it."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from bench import given
from bench.case import Case
from bench.chosen_row import Chosen
from bench.command_line import parse
from bench.files import BuildError, Event, build_files, file_key
from bench.options import Options, UsageError, without_flags
from bench.record import FileFacts
from export.artifact import Artifact, Store, folder_sha256
from export.variants import VARIANTS

Show = Callable[[Event], None]


class Found(NamedTuple):
    """A file, and why it is not the one that was measured; empty: it is."""

    artifact: Artifact
    objection: str


def find(chosen: Chosen, store: Path, places: Sequence[str], show: Show) -> Found:
    """The file that ``chosen`` was measured with.

    ``places`` are flags of bench.run that say where the run's inputs stand here (``--data``).
    Raises :class:`UsageError` where it is not there and can't be built.
    """
    facts = chosen.row.file
    if facts is None:
        raise UsageError(f"{chosen.case} has no file: its record does not name one")
    artifact = Store(store).find(facts.key) or _built(chosen, facts, store, places, show)
    found = folder_sha256(Path(artifact.folder))
    if found == facts.sha256:
        return Found(artifact, "")
    return Found(
        artifact,
        f"{facts.key} has the hash {found[:12]} in the store, {facts.sha256[:12]} was measured: "
        "remove its folder there and measure again",
    )


def _built(
    chosen: Chosen, facts: FileFacts, store: Path, places: Sequence[str], show: Show
) -> Artifact:
    """Build with the options of the run's own command; they must lead to the same key."""
    command = chosen.run.header.command
    missing = f"{facts.key} is not in {store}"
    remedy = f"it is built by: {command} (STORE is {store}; run it where its inputs are)"
    try:
        options = given.opened(_options(command, store, places))
        _check_known(chosen.case)
        files = build_files([file_key(chosen.case)], options, show)
    except (UsageError, BuildError) as exc:
        raise UsageError(f"{missing} and can't be built here: {exc}; {remedy}") from exc
    artifact = files.artifacts.get(file_key(chosen.case))
    if artifact is None:
        reason = files.reasons[file_key(chosen.case)]
        raise UsageError(f"{missing} and can't be built here: {reason}; {remedy}")
    if artifact.key != facts.key:
        raise UsageError(
            f"{missing}, and what is built today is another file, {artifact.key}: the code, the "
            f"libraries or the inputs are not those of commit {chosen.run.header.commit}; measure "
            f"it again: {command}"
        )
    return artifact


def _check_known(case: Case) -> None:
    """A given file's row names a variant that only its file makes known."""
    if case.variant not in VARIANTS:
        raise UsageError(
            f"no variant is called {case.variant}: name the model that it is from with --model FILE"
        )


def _options(command: str, store: Path, places: Sequence[str]) -> Options:
    """What a recorded command asked for, with the folders of this machine."""
    # A file is found or built on this machine, whichever fleet has measured it.
    asked = without_flags(shlex.split(command)[3:], ("--ray", "--prices"))
    words = [*asked, "--store", str(store), *places]
    try:
        return replace(parse(words), against="")
    except SystemExit as exc:  # argparse has said why, on standard error
        raise UsageError("this version does not know a flag of the run's command") from exc
