"""The hashes of the files behind a model: what it was made from, and the user's own file.

They stand in a store, which need not be at hand: what is gone from it can't be told.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from bench import given
from bench.bundle import Link
from bench.claims import Claim, held
from export.artifact import Store, folder_sha256
from export.given import GivenError

_SHOWN = 3


@dataclass(frozen=True)
class Places:
    """Where the files behind a model may be: a store, and the user's own models.

    Of ``named`` ones the user says that they are what was measured; ``recorded`` is what the
    run's command calls them, and anything may stand there today.
    """

    store: Store
    named: tuple[Path, ...] = ()
    recorded: tuple[Path, ...] = ()


@dataclass
class _Seen:
    """What is wrong, how many files are as they were, and why of others nothing is known."""

    wrong: list[str] = field(default_factory=list)
    right: int = 0
    untold: list[str] = field(default_factory=list)

    def claim(self, what: str) -> Claim:
        """Refuted by one wrong file, and open while one can't be told."""
        fine = f"{self.right} of {self.right + len(self.untold)} are as recorded"
        if self.wrong or not self.untold:
            return held(what, self.wrong, fine)
        more = len(self.untold) - _SHOWN
        rest = [f"and {more} more"] if more > 0 else []
        return Claim(what, "cannot tell", "; ".join([fine, *self.untold[:_SHOWN], *rest]))


def models_in(command: str) -> tuple[Path, ...]:
    """The files that a recorded command names with ``--model``."""
    try:
        words = shlex.split(command)
    except ValueError:  # a record that came from elsewhere may hold any text
        return ()
    found = [after for word, after in pairwise(words) if word == "--model"]
    found += [word.partition("=")[2] for word in words if word.startswith("--model=")]
    return tuple(Path(name) for text in found for name in text.split(",") if name)


def own_files(links: Iterable[Link]) -> tuple[str, ...]:
    """The hashes of the user's own files, of which any of these is a copy."""
    found = (link.provenance.get("file") for link in links)
    return tuple(dict.fromkeys(digest for digest in found if isinstance(digest, str)))


def files_behind(what: str, links: Iterable[Link], own: Iterable[str], places: Places) -> Claim:
    """Whether each of ``links`` has in the store the hash that it had when it was recorded.

    And whether the user's files are still those with the hashes ``own``.
    """
    seen = _Seen()
    for link in links:
        _take_stored(link, places.store, seen)
    for digest in own:
        _take_own(digest, places, seen)
    return seen.claim(what)


def _take_stored(link: Link, store: Store, seen: _Seen) -> None:
    folder = store.folder(link.key)
    # The key of a bundle that came from elsewhere may lead anywhere.
    inside = "/" not in link.key and link.key not in ("", ".", "..")
    if not (inside and folder.is_dir()):
        seen.untold.append(f"{link.key} is not in {store.root}")
    elif not link.sha256:
        text = "its hash is not known: it is not whole, or was gone when it was to be recorded"
        seen.untold.append(f"of {link.key} {text}")
    elif (digest := folder_sha256(folder)) != link.sha256:
        seen.wrong.append(f"{link.key} has {digest[:12]} in the store, it had {link.sha256[:12]}")
    else:
        seen.right += 1


def _take_own(digest: str, places: Places, seen: _Seen) -> None:
    """The user's own file: one that was named must be it, one that is merely called so may be."""
    files = places.named or tuple(path for path in places.recorded if path.is_file())
    if not files:
        seen.untold.append(f"the own file (sha256 {digest[:12]}) is not here: --model says where")
        return
    try:
        same = any(_sha256(path, digest) == digest for path in files)
    except (GivenError, OSError) as exc:
        seen.untold.append(f"the own file can't be read: {exc}")
        return
    if same:
        seen.right += 1
        return
    text = f"{', '.join(map(str, files))} is not the file that was measured (sha256 {digest[:12]})"
    (seen.wrong if places.named else seen.untold).append(text)


def _sha256(path: Path, wanted: str) -> str:
    """Of a model with its data files, as ``export.adopt`` has it.

    Which these are its graph alone says, and a child reads that; a file that has none needs none.
    """
    with path.open("rb") as stream:
        own = hashlib.file_digest(stream, "sha256").digest()
    alone = hashlib.sha256(own).hexdigest()
    return alone if alone == wanted else given.describe(path).sha256
