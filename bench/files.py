"""Ask ``export`` for the files of a plan: a child builds, this process only reads its answers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from pydantic import ConfigDict, TypeAdapter

from bench import choices, labelled, launch
from bench.case import NULL, Case, file_format, statically_quantised, unsupported
from bench.choices import Choice
from bench.options import Options, UsageError
from bench.record import Status
from export.artifact import Artifact
from export.build import Int8, WeightsFacts, size_note
from export.checkpoints import DEFAULT, SEEDED, weights_of
from export.tied import tied
from export.variants import ALIASES, VARIANTS, weights_name

FileKey = tuple[str, str, str]
"""Variant, recipe, format."""


@dataclass(frozen=True)
class Wanted:
    """One file: as ``export.build`` spells it."""

    variant: str
    recipe: str
    format: str


@dataclass(frozen=True)
class Event:
    """One line of ``python -m export.run --request -``. Facts that are not needed are ignored."""

    __pydantic_config__ = ConfigDict(extra="ignore", ser_json_inf_nan="constants")

    kind: str
    wanted: Wanted | None = None
    text: str = ""
    artifact: Artifact | None = None
    found: bool = False
    refused: bool = False
    weights: Mapping[str, WeightsFacts] = field(default_factory=dict)
    misfits: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Files:
    """What could be built, and why the rest could not."""

    artifacts: dict[FileKey, Artifact] = field(default_factory=dict)
    reasons: dict[FileKey, str] = field(default_factory=dict)
    refused: set[FileKey] = field(default_factory=set)
    """Of those without a file, which a runtime's own converter has refused to make."""
    built: int = 0


@dataclass(frozen=True)
class Source:
    """What a case is measured from: its file, or the status and reason of a row without one.

    ``root`` is the checkout whose code measures; ``None``: ours. ``question`` is about
    labelled images; ``unasked`` says why there is none where there should be one.
    """

    artifact: Artifact | None = None
    status: Status = "failed"
    reason: str = ""
    root: Path | None = None
    question: labelled.Question | None = None
    unasked: str = ""

    @property
    def key(self) -> str | None:
        """Of the file."""
        return self.artifact.key if self.artifact else None


COMMAND = (sys.executable, "-m", "export.run", "--request", "-")
"""Who builds: a process of its own, which may import what this one must not."""

_EVENT = TypeAdapter(Event)


class BuildError(Exception):
    """The exporting process itself ended badly; the text says how."""


def file_key(case: Case) -> FileKey:
    """Which file a case needs."""
    return case.variant, case.recipe, file_format(case) or ""


def build(cases: Sequence[Case], options: Options, show: Callable[[Event], None]) -> Files:
    """Build (or find) every file that ``cases`` need; see :func:`build_files`."""
    return build_files([file_key(c) for c in cases if unsupported(c) is None], options, show)


def build_files(
    keys: Iterable[FileKey],
    options: Options,
    show: Callable[[Event], None],
    root: Path | None = None,
    int8: Mapping[str, Int8] | None = None,
) -> Files:
    """Build (or find) some files. A failure is a reason, not an exception.

    ``root`` is the checkout whose code builds; ``None``: ours. ``int8`` says how single
    variants are quantised; ``None``: as ``options`` say. Raises
    :class:`UsageError` if the data, the weights or the choices can't be used at all.
    """
    keys = dict.fromkeys(keys)
    wanted = [dict(zip(("variant", "recipe", "format"), key, strict=True)) for key in keys]
    if int8 is None and options.int8_choice:
        int8 = chosen_int8((variant for variant, *_ in keys), options)
    files = Files()
    ending = "the build ended before this file was made"
    try:
        for event in _events(options, {"wanted": wanted}, root, int8):
            show(event)
            _take(event, files)
    except BuildError as exc:
        # What was built until then can be measured all the same.
        ending = str(exc)
    for key in keys:
        if key not in files.artifacts:
            files.reasons.setdefault(key, ending)
    return files


def int8_choices(cases: Iterable[Case], options: Options) -> tuple[Choice, ...]:
    """What ``--int8-choice`` says of the files that it decides about, a variant each.

    Raises :class:`UsageError` if it says nothing of any of them.
    """
    variants = dict.fromkeys(
        case.variant
        for case in cases
        if statically_quantised(case.recipe)
        and unsupported(case) is None
        and file_format(case) == "onnx"
    )
    if not options.int8_choice or not variants:
        return ()
    return tuple(_chosen(variants, options).values())


def chosen_int8(variants: Iterable[str], options: Options) -> Mapping[str, Int8]:
    """How static INT8 of these variants is built, where ``--int8-choice`` says so."""
    return {variant: choice.int8 for variant, choice in _chosen(variants, options).items()}


def _chosen(variants: Iterable[str], options: Options) -> Mapping[str, Choice]:
    """How ``bench.search`` says that each variant with its weights is quantised."""
    variants = tuple(dict.fromkeys(variants))
    weights = {x: weights_of(x, options.weights, options.checkpoints) for x in variants}
    names = {x: weights_name(file) for x, file in weights.items()}
    return choices.chosen(Path(options.int8_choice), names)


def sources(cases: Iterable[Case], files: Files) -> dict[Case, Source]:
    """What each case is measured from."""
    return {case: source(file_key(case), unsupported(case), files) for case in cases}


def source(key: FileKey, impossible: str | None, files: Files, root: Path | None = None) -> Source:
    """The file of ``key``, unless the case is ``impossible`` for a reason."""
    if impossible is not None:
        return Source(status="unsupported", reason=impossible)
    if key in files.artifacts:
        return Source(files.artifacts[key], root=root)
    return Source(
        status="unsupported" if key in files.refused else "failed", reason=files.reasons[key]
    )


def _take(event: Event, files: Files) -> None:
    """Keep what an event says about a file."""
    if event.wanted is None:
        return
    key = (event.wanted.variant, event.wanted.recipe, event.wanted.format)
    if event.artifact is not None:
        files.artifacts[key] = event.artifact
        files.built += not event.found
    elif event.kind == "failed":
        files.reasons[key] = event.text
        if event.refused:
            files.refused.add(key)


def size_notes(files: Files) -> tuple[str, ...]:
    """Which variants' weights learnt at another input size than they are used at."""
    texts = (
        f"{row.variant} with its weights ({row.weights}): {text}"
        for row in files.artifacts.values()
        if (text := size_note(row.learnt_size, row.input_size))
    )
    return tuple(dict.fromkeys(texts))


class Fitting(NamedTuple):
    """The cases whose variant the weights fit, and why the other variants are left out.

    ``weights`` is what is known of them by variant where rows may be asked about labelled
    images; seeded where it says nothing.
    """

    cases: tuple[Case, ...]
    misfits: Mapping[str, str] = MappingProxyType({})
    weights: Mapping[str, WeightsFacts] = MappingProxyType({})


def fitting(cases: Sequence[Case], options: Options) -> Fitting:
    """What the weights fit.

    Raises :class:`UsageError` if they fit no variant, or not one that the user named.
    """
    # Each variant's own fit it; what classes they know matters only beside labels.
    unasked = not options.data or options.accuracy == "none"
    if options.weights == SEEDED or (options.weights == DEFAULT and unasked):
        return Fitting(tuple(cases))
    variants = tuple(dict.fromkeys(case.variant for case in cases))
    misfits: dict[str, str] = {}
    weights: dict[str, WeightsFacts] = {}
    for event in _events(options, {"check_variants": variants}):
        misfits |= event.misfits
        weights |= event.weights
    named = [ALIASES[n].variant if n in ALIASES else n for n in options.variants]
    wrong = [name for name in variants if name in misfits and name in named]
    if wrong or len(misfits) == len(variants):
        name = (wrong or list(misfits))[0]
        fits = [n for n in variants if n not in misfits]
        hint = f"they fit {', '.join(fits)}" if fits else f"variants are {', '.join(VARIANTS)}"
        raise UsageError(f"--weights {options.weights} don't fit {name}: {misfits[name]}; {hint}")
    found = (_fitting(case, misfits, variants) for case in cases)
    kept = tuple(dict.fromkeys(case for case in found if case is not None))
    return Fitting(kept, misfits, weights)


def misfit_notes(misfits: Mapping[str, str]) -> tuple[str, ...]:
    """Which variants were left out because weights that nobody named for them don't fit."""
    return tuple(
        f"left out: {variant}, which these weights don't fit: {reason}"
        for variant, reason in misfits.items()
    )


def _fitting(case: Case, misfits: Mapping[str, str], variants: Sequence[str]) -> Case | None:
    """The case itself; the harness's own row moves to a variant of the family that fits."""
    if case.variant not in misfits:
        return case
    family = [n for n in variants if n not in misfits and VARIANTS[n].family == case.family]
    return replace(case, variant=family[0]) if case.runtime == NULL and family else None


def _events(
    options: Options,
    request: Mapping[str, object],
    root: Path | None = None,
    int8: Mapping[str, Int8] | None = None,
) -> Iterator[Event]:
    """Start ``export.run``, send the request, yield its events as they come."""
    whole = {
        "store": str(options.store.absolute()),
        "options": {
            "weights": options.weights,
            "checkpoints": options.checkpoints,
            "data": options.data,
            "calibration_method": options.calibration_method,
            "calibration_images": options.calibration_images,
            "graph_level": options.graph_level,
            "calibration_percentile": options.calibration_percentile,
            "int8": {variant: asdict(one) for variant, one in (int8 or {}).items()},
            **({"given": [asdict(row) for row in options.given]} if options.given else {}),
        },
        **request,
    }
    with _exporter(TypeAdapter(dict[str, object]).dump_json(whole), root) as process:
        assert process.stdout is not None
        for line in process.stdout:
            yield _EVENT.validate_json(line)


@contextmanager
def _exporter(request: bytes, root: Path | None) -> Iterator[subprocess.Popen[bytes]]:
    """The exporting child; usage errors come back as ours, and it never outlives us."""
    with tempfile.TemporaryFile() as complaints, tempfile.TemporaryFile() as sent:
        sent.write(request)
        sent.seek(0)
        process = subprocess.Popen(
            [*tied(), *COMMAND],
            stdin=sent,
            stdout=subprocess.PIPE,
            stderr=complaints,
            env=os.environ | launch.code_of(root),
            start_new_session=True,
        )
        try:
            yield process
            code = process.wait()
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            assert process.stdout is not None
            process.stdout.close()
        complaints.seek(0)
        text = complaints.read().decode(errors="replace").strip()
    if code == 2:
        raise UsageError(text.removeprefix("error: "))
    # Python ends with 1 after a traceback, too: then there is something on standard error.
    if code not in (0, 1) or (code == 1 and "Traceback" in text):
        last = text.splitlines()[-1] if text else "no message"
        how = f"exit code {code}" if code >= 0 else signal.Signals(-code).name
        raise BuildError(f"python -m export.run ended with {how}: {last.removeprefix('error: ')}")
