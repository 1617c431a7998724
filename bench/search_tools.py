"""With what a search works: files from ``export``, answers from a child's session."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from pydantic import TypeAdapter

from bench import block, files, labelled, launch
from bench.blocks import memory_limit
from bench.candidates import RECIPE, NoFile, Tools
from bench.case import Case
from bench.choices import Blamed
from bench.files import Event
from bench.options import Options, UsageError
from bench.record import Answers, Labelled
from export.artifact import Artifact
from export.build import SEEDED, Int8
from export.images import Entry, ImageFolder, Preprocess
from export.tied import tied

_RUNTIME = "ort"


def tools(variant: str, options: Options, folder: ImageFolder, say: Callable[[str], None]) -> Tools:
    """The real ones, for one variant."""
    asker = Asker(options, folder, say)
    return Tools(
        build=lambda int8: build(variant, options, int8, say),
        ask=asker,
        rank=lambda fp32, int8: rank(fp32, int8, options, say),
        say=say,
    )


def check_classes(variant: str, options: Options, folder: ImageFolder) -> None:
    """Raise :class:`UsageError` where the weights' classes aren't the data's; nothing is built."""
    case = Case(variant, "fp32", _RUNTIME, options.threads[0])
    facts = files.fitting([case], options).weights.get(variant, SEEDED)
    if reason := labelled.unfit_weights(variant, facts, _labelled(folder, ()), options):
        raise UsageError(f"--data: {reason}")


def _labelled(folder: ImageFolder, entries: Sequence[Entry]) -> Labelled:
    """What a record would say of these images."""
    return Labelled(
        data=folder.path.name,
        split="",
        images=folder.fingerprint(entries),
        class_names=folder.class_names,
        labels=tuple(entry.label for entry in entries),
    )


def build(
    variant: str, options: Options, int8: Int8 | None, say: Callable[[str], None]
) -> Artifact:
    """A file by ``export.run``; raises :class:`NoFile` with its reason."""
    key = (variant, "fp32" if int8 is None else RECIPE, "onnx")

    def show(event: Event) -> None:
        if event.kind == "note":
            say(event.text)

    made = files.build_files([key], options, show, int8={variant: int8} if int8 else {})
    if key not in made.artifacts:
        raise NoFile(made.reasons[key])
    return made.artifacts[key]


class Asker:
    """Has a fresh child load a file and answer to some images of ``folder``."""

    def __init__(self, options: Options, folder: ImageFolder, say: Callable[[str], None]) -> None:
        self.options = options
        self.folder = folder
        self.say = say

    def __call__(self, artifact: Artifact, entries: Sequence[Entry]) -> Answers:
        """Raises :class:`UsageError` where the model's classes aren't the data's."""
        question = self._question(artifact, entries)
        labelled.prepare([question], self.say)
        case = Case(
            artifact.variant,
            artifact.recipe,
            _RUNTIME,
            self.options.threads[0],
            weights=artifact.weights,
        )
        with tempfile.TemporaryDirectory(prefix="deploybench-search-") as logs:
            setting = launch.Setting(case.threads, memory_limit(self.options), tied=True)
            try:
                with launch.Child(setting, Path(logs) / "child.log") as child:
                    loaded = child.ask(block.load_message(case, artifact), launch.LOAD_LIMIT_S)
                    if loaded["status"] != "ok":
                        raise NoFile(loaded["reason"])
                    return labelled.ask(child, question, loaded["first_s"])
            except launch.ChildDied as exc:
                raise NoFile(str(exc)) from exc

    def _question(self, artifact: Artifact, entries: Sequence[Entry]) -> labelled.Question:
        folder = self.folder
        images = labelled.Images(folder, tuple(entries), _labelled(folder, entries))
        if reason := labelled.unfit(artifact, images.labelled, self.options):
            raise UsageError(f"--data: {reason}")
        return labelled.Question(
            images,
            Preprocess.from_json(artifact.preprocess),
            labelled.columns(artifact, images.labelled),
            whole=True,
            cache=self.options.store.absolute() / "pixels",
        )


def rank(
    fp32: Artifact, int8: Int8, options: Options, say: Callable[[str], None]
) -> tuple[Blamed, ...]:
    """Layers that suffer most first, by ``python -m export.sensitivity``.

    Raises :class:`UsageError` with its words where that fails.
    """
    chosen = json.dumps(TypeAdapter(Int8).dump_python(int8, mode="json"))
    words = [*tied(), sys.executable, "-m", "export.sensitivity", str(fp32.path), "--json"]
    words += ["--int8", chosen, "--data", options.data]
    with tempfile.TemporaryFile("w+") as complaints:
        process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=complaints, text=True)
        assert process.stdout is not None
        try:
            with process.stdout as lines:
                found = [json.loads(line) for line in lines]
            code = process.wait()
        finally:
            process.kill()
            process.wait()
        complaints.seek(0)
        last = complaints.read().strip().splitlines()[-1:] or ["no message"]
    if code != 0:
        raise UsageError(f"ranking the layers of {fp32.variant} ended with {code}: {last[0]}")
    found.sort(key=lambda row: -row["error"])
    for row in found[:5]:
        name = row["layer"] or row["name"]
        say(f"  {name}: 1 - cosine {row['error']:.5f} when only this layer is in INT8")
    return tuple(Blamed(row["name"], row["error"], row["layer"]) for row in found)
