"""Whether a file of the user's is really where its name says: a link may lead anywhere."""

from __future__ import annotations

from pathlib import Path


def leads_out(path: Path, folder: Path) -> bool:
    """Whether ``path``, a name in ``folder``, is a link to what does not stand in it."""
    return path.is_symlink() and not path.resolve().is_relative_to(folder.resolve())
