"""What all blocks of a run share, and the name that says which blocks are comparable."""

from __future__ import annotations

import datetime
import functools
import hashlib
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from bench import against, host
from bench.against import Tree
from bench.case import LOADGEN, Case
from bench.choices import Choice
from bench.command_line import spelt_out
from bench.options import Options, spends
from bench.record import SCHEMA, Budget, Checkpoint, Fleet, Labelled, RunHeader, find_runs
from export.checkpoints import DEFAULT, SEEDED, TRAINED, weights_of
from export.variants import OWN, VARIANTS, Variant, weights_name
from runtimes import REGISTRY

ROOT = Path(__file__).parent.parent
"""Where this code stands."""
HIDDEN_STORE = "STORE"
"""What stands in a recorded command for a store that has been named by its whole path."""
_ELSEWHERE = ("out", "store", "fresh", "markdown", "ray", "prices")
"""Options that say where things go or are done: a run is the same whatever they are."""
_OWN_IMAGES = "crops of the photographs that scikit-learn ships"
_TOOLS = (
    "numpy",
    "onnx",
    "onnxscript",
    "onnxruntime-tools",
    "torchao",
    "torch-pruning",
    "pnnx",
    "litert-torch",
    "litert-converter",
    "ai-edge-quantizer",
    LOADGEN,
)


def installed() -> Mapping[str, str]:
    """Distribution -> version of what is installed here and can change a figure."""
    runtimes = [row.distribution for row in REGISTRY.values() if row.distribution]
    return host.versions([*runtimes, *_TOOLS])


def asked(options: Options) -> Mapping[str, object]:
    """What a run is, of all that was said: not where its results go."""
    return {name: value for name, value in asdict(options).items() if name not in _ELSEWHERE}


def header(
    options: Options,
    cases: Sequence[Case],
    words: Sequence[str],
    tree: Tree | None,
    images: Labelled | None,
    int8_choices: tuple[Choice, ...],
    facts: Mapping[str, str] | None = None,
    fleet: Fleet | None = None,
) -> RunHeader:
    """What all blocks of this run share. Its name covers what makes results comparable.

    ``facts`` are those of the host that measures; ``None``: of this one.
    """
    facts = host.describe() if facts is None else facts
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    versions = installed()
    named = asked(options)
    code = (code_of(ROOT), *([code_of(tree.root)] if tree else []))
    judged_by = (images.images,) if images else ()
    # A search may choose anew in the same folder.
    built_as = tuple((choice.variant, choice.int8) for choice in int8_choices)
    # Another kind of a fleet may be the same hardware with other cores to use.
    usable = facts.get("usable cores", "").partition(" ")[0]
    kind = (usable,) if fleet and [usable] != [*map(str, options.threads)] else ()
    named_by = (*judged_by, *built_as, *kind)
    identity = (named, host.host_id(facts), *code, sorted(versions.items()), *named_by)
    digest = hashlib.sha256(repr(identity).encode()).hexdigest()[:8]
    name = f"{options.suite}-{digest}"
    command = shlex.join(["python", "-m", "bench.run", *spelt_out(words)])
    return RunHeader(
        schema=SCHEMA,
        run=_fresh_name(options.out, name) if options.fresh else name,
        started=now,
        command=without_paths(command, options),
        commit=host.commit(ROOT),
        suite=options.suite,
        weights=_weights(options),
        data=without_paths(options.data, options) + fingerprint(options.data) or _OWN_IMAGES,
        blocks=options.blocks,
        seconds=options.seconds,
        host=facts,
        host_id=host.host_id(facts),
        versions=versions,
        cases=tuple(cases),
        against=against.header_entry(tree, options) if tree else None,
        labelled=images,
        int8_choices=int8_choices,
        budget=Budget(options.budget) if spends(options) else None,
        fleet=fleet,
        checkpoints=_checkpoints(cases, options),
    )


def _weights(options: Options) -> str:
    """The weights, with what tells files from others of the same names.

    Of checkpoints by variant all that there are, so that it does not depend on the plan.
    """
    if options.weights != DEFAULT:
        return weights_name(options.weights) + fingerprint(options.weights)
    chosen = {name: weights_of(name, DEFAULT, options.checkpoints) for name in VARIANTS}
    own = "; ".join(f"{row.name} (sha256 {_digest(row)})" for row in options.given)
    texts = [
        name + fingerprint(place) for name, place in chosen.items() if place not in (SEEDED, OWN)
    ]
    if own:
        return f"{OWN}: {own}"
    if not texts:
        return SEEDED
    digest = hashlib.sha256("\n".join(texts).encode()).hexdigest()[:12]
    return f"of each variant its own, trained for {len(texts)} of {len(chosen)} (sha256 {digest})"


def _checkpoints(cases: Sequence[Case], options: Options) -> tuple[Checkpoint, ...]:
    """Which file each planned variant is built with; none of those without trained weights."""
    if options.weights == SEEDED:
        return ()
    found = []
    for variant in dict.fromkeys(case.variant for case in cases):
        path = Path(weights_of(variant, options.weights, options.checkpoints))
        if path.is_file():
            packaged = path.parent == TRAINED
            found.append(Checkpoint(variant, path.name, _sha256(path), packaged))
    return tuple(found)


def _sha256(path: Path) -> str:
    """Of a file's contents, read once however often it is asked for: checkpoints are large."""
    stat = path.stat()
    return _sha256_of(path, stat.st_size, stat.st_mtime_ns)


@functools.cache
def _sha256_of(path: Path, size: int, changed_ns: int) -> str:
    del size, changed_ns  # they tell one state of a file from another
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _digest(row: Variant) -> str:
    return row.given.sha256[:12] if row.given else ""


def fingerprint(place: str) -> str:
    """What tells a file or folder from another one of the same name; empty for what is neither.

    Of a file its contents, of a folder the names and sizes of its files.
    """
    path = Path(place)
    if place and path.is_file():
        return f" (sha256 {_sha256(path)[:12]})"
    if place and path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file())
        text = "\n".join(f"{file.relative_to(path)} {file.stat().st_size}" for file in files)
        return f" (names and sizes {hashlib.sha256(text.encode()).hexdigest()[:12]})"
    return ""


def code_of(root: Path) -> str:
    """A hash of the source in a checkout: numbers of other code are another run's."""
    whole = hashlib.sha256()
    for package in ("bench", "export", "runtimes"):
        for file in sorted((root / package).rglob("*.py")):
            whole.update(file.read_bytes())
    return whole.hexdigest()


def _fresh_name(out: Path, name: str) -> str:
    """The first unused ``NAME-1``, ``NAME-2``, ...; an interrupted one is gone on with."""
    taken = {path.name.partition(".jsonl")[0] for path in find_runs(out)}
    number = 1
    while f"{name}-{number}" in taken:
        if (out / "records" / f"{name}-{number}.jsonl").exists():
            break
        number += 1
    return f"{name}-{number}"


def _is_folder(place: str) -> bool:
    return bool(place) and Path(place).is_dir()


def without_paths(text: str, options: Options) -> str:
    """``text`` without the folders of this machine: records travel."""
    places = {
        **{
            place: Path(place).name
            for place in (
                *(options.data, options.weights, options.checkpoints, options.class_names),
                *options.model,
            )
            if place
        },
        **{place: Path(place).name for place in [options.against] if _is_folder(place)},
        **{
            str(place): place.name
            for place in (options.out, Path(options.int8_choice))
            if place.is_absolute()
        },
        str(options.store.absolute()): HIDDEN_STORE,
        str(ROOT): ".",
        str(Path.home()): "~",
    }
    for place, name in places.items():
        if place != "/":
            # As a whole folder: /tmp/walk is no part of /tmp/walk-out.
            text = re.sub(rf"{re.escape(place)}(?![\w.-])", name.replace("\\", r"\\"), text)
    return text
