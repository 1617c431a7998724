"""What the page offers: what stands in the store, or what a child builds first."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

from pydantic import ValidationError

from bench.case import Case
from bench.dashboard import building, models, reasons
from bench.dashboard.events import Feed
from bench.dashboard.models import Model
from bench.dashboard.settings import Settings
from bench.files import Event, FileKey, file_key
from bench.options import UsageError
from export.artifact import Artifact
from runtimes import missing

BUILDING = (sys.executable, "-m", "bench.dashboard.building")
"""Who builds: a child, which is ended with the page."""
_MOST_LINE_BYTES = 64 << 20
"""Of an event: an artifact names all its classes and layers."""
_END_LIMIT_S = 10.0
_LOG = logging.getLogger(__name__)


@dataclass
class Progress:
    """How far it is: ``state`` is looking, building, ready or failed.

    ``done`` of ``of`` files are finished, or were begun before the one that is being built:
    the child says what is finished only at the end of a family.
    """

    state: str = "looking"
    text: str = "looking into the store"
    done: int = 0
    of: int = 0
    failed: list[str] = field(default_factory=list)


class Offer:
    """The models of a page, none until those that ``find`` found are shown."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.models: dict[str, Model] = {}
        self.progress = Progress()
        self.feed = Feed()
        self._begun: set[FileKey] = set()
        self._over: set[FileKey] = set()
        self._tell()

    def show(self, found: Sequence[Model]) -> None:
        """Offer these."""
        self.models = {model.name: model for model in found}
        self.progress.state = "ready" if found else "failed"
        self.progress.text = (
            f"{len(found)} models" if found else "no model could be built: see what failed"
        )
        self._tell()

    def complain(self, reason: str) -> None:
        """Show what went wrong beside the models, which can be used all the same."""
        self._failed(reason)
        self._tell()

    def give_up(self, reason: str) -> None:
        """Nothing more will be offered."""
        if not self.models:
            self.progress.state, self.progress.text = "failed", "no model can be offered"
        self.complain(reason)

    async def find(self) -> list[Model]:
        """What stands in the store, or what can be built; why it is nothing, the progress says."""
        options = self.settings.options
        if not self.settings.named:
            artifacts = await asyncio.to_thread(models.standing, options.store)
            found = models.models(artifacts, options.threads[0])
            if found:
                return found
        try:
            return await self._built()
        except UsageError as exc:
            self._failed(str(exc))
            return []

    async def _built(self) -> list[Model]:
        """What a child could build. Raises :class:`UsageError` where it was asked in vain."""
        options, named = self.settings.options, self.settings.named
        how = building.NAMED if named else building.USUAL
        cases = building.cases(options) if named else ()
        reason = missing(models.FIVE_RUNTIME)
        if not named and reason:
            raise UsageError(f"{models.FIVE_RUNTIME} is {reason}; or name --runtimes")
        self.progress.state, self.progress.of = "building", len(building.keys(options, how))
        self._tell()
        artifacts = await self._artifacts([how, *self.settings.argv])
        if named:
            return [
                Model(case, artifacts[key])
                for case in cases
                if (key := file_key(case)) in artifacts
            ]
        return [
            Model(_five(key, artifact, options.threads[0]), artifact)
            for key, artifact in artifacts.items()
        ]

    async def _artifacts(self, words: Sequence[str]) -> dict[FileKey, Artifact]:
        """What the building child made; it is ended with this task."""
        process = await asyncio.create_subprocess_exec(
            *BUILDING,
            *words,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=_MOST_LINE_BYTES,
        )
        assert process.stdout is not None and process.stderr is not None
        complaints = asyncio.create_task(process.stderr.read())
        found: dict[FileKey, Artifact] = {}
        try:
            async for line in process.stdout:
                self._heard(line, found)
            code = await process.wait()
            text = (await complaints).decode(errors="replace").strip()
        finally:
            complaints.cancel()
            await _end(process)
        if code != 0:
            last = text.splitlines()[-1] if text else f"exit code {code}"
            raise UsageError(last.removeprefix("error: "))
        return found

    def _heard(self, line: bytes, found: dict[FileKey, Artifact]) -> None:
        try:
            event = building.EVENT.validate_json(line)
        except ValidationError as exc:
            raise UsageError(f"the building child said what is no event: {line[:80]!r}") from exc
        if event.wanted is not None:
            self._keep(event, (event.wanted.variant, event.wanted.recipe, event.wanted.format))
            if event.artifact is not None:
                key = (event.wanted.variant, event.wanted.recipe, event.wanted.format)
                found[key] = event.artifact
        self._tell()

    def _keep(self, event: Event, key: FileKey) -> None:
        variant, recipe, _ = key
        (self._over if event.kind in ("built", "failed") else self._begun).add(key)
        self.progress.done = max(len(self._over), len(self._begun | self._over) - 1)
        if event.kind == "failed":
            reason = event.text.removeprefix(f"{recipe}: ")
            self._failed(f"{variant} {recipe}: {reason}")
        step = f" ({reasons.plain(event.text)})" if event.kind == "building" else ""
        self.progress.text = f"{event.kind} {variant} {recipe}{step}"

    def _failed(self, reason: str) -> None:
        """Into the log as it is, and for the page's users without the server's folders."""
        _LOG.warning("%s", reason)
        self.progress.failed.append(reasons.plain(reason))

    def _tell(self) -> None:
        self.feed.publish("building", "", self.progress)


def _five(key: FileKey, artifact: Artifact, threads: int) -> Case:
    return building.case_of(key, threads, artifact.weights)


async def _end(process: asyncio.subprocess.Process) -> None:
    """Let it end its own children; what does not listen is killed."""
    if process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        await asyncio.wait_for(process.wait(), _END_LIMIT_S)
    except TimeoutError:
        process.kill()
        await process.wait()
