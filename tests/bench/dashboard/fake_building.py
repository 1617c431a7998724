"""A building child that says what a test has written down, when the test wants it said.

``python -m tests.bench.dashboard.fake_building FOLDER``: a line for each file ``0.json``,
``1.json`` and so on as soon as it stands there; an empty one is the end. Further words are not
heeded.
"""

from __future__ import annotations

import itertools
import sys
import time
from pathlib import Path

from bench.dashboard import building
from bench.files import Event

MODULE = "tests.bench.dashboard.fake_building"


def main(folder: Path) -> None:
    """Say it."""
    for number in itertools.count():
        file = folder / f"{number}.json"
        while not file.exists():
            time.sleep(0.02)
        text = file.read_text()
        if not text:
            return
        print(text, flush=True)


class Script:
    """What the child in ``folder`` is to say next."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        self.command = (sys.executable, "-m", MODULE, str(folder))
        self._numbers = itertools.count()

    def say(self, event: Event) -> None:
        """One event."""
        self._write(building.EVENT.dump_json(event).decode())

    def end(self) -> None:
        """All is said."""
        self._write("")

    def _write(self, text: str) -> None:
        aside = self.folder / "aside"
        aside.write_text(text)
        aside.rename(self.folder / f"{next(self._numbers)}.json")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
