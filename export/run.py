"""``python -m export.run``: build the files that are asked for, through the store.

This process stays small: every step runs in a child of its own, so that a
converter that crashes or needs too much memory costs one artifact and not the
run. ``bench.run`` starts it with ``--request -``: one :class:`Request` as JSON
on standard input, one :class:`Event` a line on standard output.
"""

from __future__ import annotations

import argparse
import contextlib
import difflib
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, TypeAdapter

from export import memory
from export.artifact import Artifact, Store, default_store
from export.build import (
    CALIBRATION_METHODS,
    GRAPH_LEVELS,
    SEEDED,
    Context,
    Node,
    Options,
    Wanted,
    WeightsFacts,
    chain,
    class_names,
    given_facts,
    size_note,
)
from export.checkpoints import DEFAULT, CheckpointsError, check_folder, weights_of
from export.classes import conflict
from export.download import WeightsError
from export.images import ImageFolder, ImagesError, sample_photographs_fingerprint
from export.printable import complain, paragraph
from export.recipes import FORMATS, RECIPES, STEPS
from export.steps import CHECK, CHECKED, JOB, Check, Checked, Job
from export.tied import tied
from export.variants import ALIASES, VARIANTS, register

CHILD_LIMIT_S = 3600.0
"""Of one building process, which makes all files of a group."""
_STALE_S = 24 * 3600.0
_SMALL_PIXELS = 64
_PIXELS_PER_FILE = 15_000
"""What a file costs besides computing: exporting takes a second or two however small it is."""
_MOST_CALIBRATION_IMAGES = 10_000
_LAST_BYTES = 2000
_BYTES_PER_BUILD = 8 * 2**30
"""So that the largest (xception-flatten-wide peaks at 11.5 GiB) has room beside an ordinary one."""


class UsageError(ValueError):
    """Something the user has to change before anything can be built."""


@dataclass(frozen=True)
class Request:
    """What ``bench.run`` asks for. ``check_variants``: describe their weights, build nothing.

    ``own_checks``: images of other classes than the weights' are refused, and other input
    sizes are told. ``bench.run`` does so itself: it has rows without accuracy.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    store: str
    options: Options
    wanted: tuple[Wanted, ...] = ()
    check_variants: tuple[str, ...] = ()
    own_checks: bool = False


@dataclass(frozen=True)
class Event:
    """One thing that happened: ``weights``, ``building``, ``note``, ``built`` or ``failed``.

    ``refused``: a converter has said that it can't do this, which is no fault of ours.
    """

    __pydantic_config__ = ConfigDict(extra="forbid", ser_json_inf_nan="constants")

    kind: str
    wanted: Wanted | None = None
    text: str = ""
    artifact: Artifact | None = None
    found: bool = False
    refused: bool = False
    weights: Mapping[str, WeightsFacts] = field(default_factory=dict)
    misfits: dict[str, str] = field(default_factory=dict)


REQUEST = TypeAdapter(Request)
EVENT = TypeAdapter(Event)
Emit = Callable[[Event], None]
Plan = Mapping[Wanted, tuple[Node, ...]]


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, check, build; returns the exit code.

    1: a file could not be built, 2: usage, 3: the store could not be used.
    """
    try:
        request, emit = _parse(argv)
        return 1 if serve(request, emit) else 0
    except UsageError as exc:
        complain(exc)
        return 2
    except ImagesError as exc:
        complain(f"--data: {exc}")
        return 2
    except OSError as exc:
        complain(exc)
        return 3
    except KeyboardInterrupt:
        return 130


def serve(request: Request, emit: Emit) -> int:
    """Answer a request; returns how many of its files could not be built."""
    emit = _harmless(emit)
    store = Store(Path(request.store))
    _sweep(store)
    options = request.options
    register(options.given)
    variants = request.check_variants or _variants(request.wanted)
    facts, misfits = _weights(store, options, variants)
    emit(Event("weights", weights=facts, misfits=dict(misfits)))
    if request.check_variants:
        return 0
    if request.own_checks and options.data:
        misfits = {**_other_classes(options, facts, variants), **misfits}
    context = Context(options, facts, _data_key(options))
    plan = {wanted: chain(wanted, context) for wanted in request.wanted}
    if request.own_checks:
        for text in _size_notes(facts, misfits):
            emit(Event("note", text=text))
    return _Run(store, context, emit).build_all(plan, misfits)


def _harmless(emit: Emit) -> Emit:
    """``emit`` for events whose words quote a file, or a library that quotes one.

    Names of operators and tensors, keys of weights: they end up on terminals and in records.
    """

    def tell(event: Event) -> None:
        misfits = {name: paragraph(why) for name, why in event.misfits.items()}
        emit(replace(event, text=paragraph(event.text), misfits=misfits))

    return tell


def _weights(
    store: Store, options: Options, variants: tuple[str, ...]
) -> tuple[Mapping[str, WeightsFacts], Mapping[str, str]]:
    """What is known of each variant's weights, and which variants they don't fit.

    A checkpoint that was found by a variant's name is not tried on it here.
    """
    own = {name: given_facts(VARIANTS[name]) for name in variants if VARIANTS[name].given}
    facts, misfits = _other_weights(store, options, tuple(x for x in variants if x not in own))
    return {**facts, **own}, misfits


def _other_weights(
    store: Store, options: Options, variants: tuple[str, ...]
) -> tuple[Mapping[str, WeightsFacts], Mapping[str, str]]:
    """The same of variants that are built by code."""
    if not variants:
        return {}, {}
    if options.weights == SEEDED.name:
        return {}, {}
    if options.weights != DEFAULT:
        checked = _checked(store, options, variants)
        return dict.fromkeys(variants, checked.weights), checked.misfits
    try:
        check_folder(options.checkpoints, options.weights)
        chosen = {name: weights_of(name, DEFAULT, options.checkpoints) for name in variants}
        files = {name: Path(place) for name, place in chosen.items() if place != SEEDED.name}
        return _read_facts(files), {}
    except (CheckpointsError, WeightsError) as exc:
        raise UsageError(str(exc)) from exc


def _size_notes(facts: Mapping[str, WeightsFacts], misfits: Mapping[str, str]) -> Iterator[str]:
    """Which weights learnt at another input size than their variant's."""
    for name, known in facts.items():
        text = size_note(known.learnt_size, VARIANTS[name].input_size)
        if text and name not in misfits:
            yield f"{name} with its weights ({known.name}): {text}"


def _other_classes(
    options: Options, facts: Mapping[str, WeightsFacts], variants: Sequence[str]
) -> Mapping[str, str]:
    """Which variants' trained weights know other classes than the data has, and which.

    A ``UsageError`` if all do. Seeded weights were never taught any.
    """
    ours = ImageFolder.open(Path(options.data)).class_names
    found = {}
    for name, known in facts.items():
        owner = f"{name} with its weights ({known.name})"
        theirs = class_names(VARIANTS[name], known)
        made_up = known.placeholder_names
        if reason := conflict(owner, theirs, options.data, ours, made_up=made_up):
            found[name] = reason
    if len(found) == len(variants):
        reason = next(iter(found.values()))
        raise UsageError(
            f"--data: {reason}; give images of the weights' classes, or leave --data out to "
            "calibrate by sample photographs"
        )
    return found


def _read_facts(files: Mapping[str, Path]) -> Mapping[str, WeightsFacts]:
    """By variant, what its checkpoint says about itself."""
    if not files:
        return {}
    try:
        from export.metadata import checkpoint_facts
    except ImportError as exc:
        raise UsageError(
            f"{exc}; trained weights need it: pip install 'deploybench[build]'"
        ) from exc
    return {name: checkpoint_facts(path) for name, path in files.items()}


def _variants(wanted: Iterable[Wanted]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(item.variant for item in wanted))


def _checked(store: Store, options: Options, variants: tuple[str, ...]) -> Checked:
    """Which weights these are and which variants they don't fit, from a child."""
    check = Check(str(store.root), options.weights, variants)
    lines: list[str] = []
    log = store.root / "logs" / "weights.log"
    end = _child(["check"], CHECK.dump_json(check), log, lines.append)
    if not lines:
        raise UsageError(f"--weights {options.weights}: reading them ended with {end}; see {log}")
    answer = CHECKED.validate_json(lines[-1])
    if answer.error:
        raise UsageError(answer.error)
    return answer


def _data_key(options: Options) -> str:
    """Fingerprint of the images that calibration and parity take from."""
    if not options.data:
        return sample_photographs_fingerprint()
    folder = ImageFolder.open(Path(options.data))
    return folder.fingerprint(folder.part("train"))


class _Run:
    """One pass over a plan: each node is built at most once, its failure is remembered."""

    def __init__(self, store: Store, context: Context, emit: Emit) -> None:
        self.store = store
        self.context = context
        self.failures: dict[str, str] = {}
        self.refused: set[str] = set()
        self.made: set[str] = set()
        self.stopping = False
        self._emit = emit
        self._one_at_a_time = threading.Lock()

    def emit(self, event: Event) -> None:
        """Hand one event on; several threads have some."""
        with self._one_at_a_time:
            self._emit(event)

    def build_all(self, plan: Plan, misfits: Mapping[str, str]) -> int:
        """Build every chain, one event for each wanted file; returns the number of failures.

        Groups share no file, so several are built side by side where cores and memory allow.
        """
        with ThreadPoolExecutor(workers()) as pool:
            jobs = [pool.submit(self._build, group, plan, misfits) for group in _groups(plan)]
            try:
                return sum(job.result() for job in jobs)
            except KeyboardInterrupt:
                self.stopping = True
                pool.shutdown(cancel_futures=True)
                raise

    def _build(self, group: Sequence[Wanted], plan: Plan, misfits: Mapping[str, str]) -> int:
        """Build the files of one group; returns the number of failures."""
        fitting = [wanted for wanted in group if wanted.variant not in misfits]
        self._start(self._missing(fitting, plan))
        failed = 0
        for wanted in group:
            reason = misfits.get(wanted.variant) or self._reason(plan[wanted])
            artifact = None if reason else self.store.find(plan[wanted][-1].key)
            if artifact is None:
                failed += 1
                reason = reason or "it vanished from the store"
                refused = any(node.key in self.refused for node in plan[wanted])
                self.emit(Event("failed", wanted, reason, refused=refused))
                continue
            # The file may have been made beside other images; what is compared is of these.
            reference = str(self.store.folder(plan[wanted][-1].reference))
            named = replace(artifact, recipe=wanted.recipe, reference=reference)
            found = artifact.key not in self.made
            self.emit(Event("built", wanted, artifact=named, found=found))
        return failed

    def _missing(self, group: Sequence[Wanted], plan: Plan) -> list[tuple[Node, Wanted]]:
        """The nodes that have to be built, each with the first file that asks for it.

        In building order: of each variant first what needs its torch module, which
        then need not be made twice.
        """
        first: dict[str, tuple[Node, Wanted]] = {}
        for wanted in group:
            for node in plan[wanted]:
                if node.source is not None:
                    first.setdefault(node.source.key, (node.source, wanted))
                first.setdefault(node.key, (node, wanted))
        absent = [pair for key, pair in first.items() if self.store.find(key) is None]
        variants = list(dict.fromkeys(wanted.variant for wanted in group))

        def order(pair: tuple[Node, Wanted]) -> tuple[bool, int, bool]:
            node = pair[0]
            return _is_isolated(node), variants.index(node.variant), not _needs_module(node)

        return sorted(absent, key=order)

    def _reason(self, nodes: Sequence[Node]) -> str:
        """Why the last of ``nodes`` could not be built; empty if it could."""
        for node in nodes:
            if node.key in self.failures:
                return f"{node.step}: {self.failures[node.key]}"
        return "interrupted" if self.stopping else ""

    def _start(self, left: list[tuple[Node, Wanted]]) -> None:
        """Build in a child, and in another one what is behind a node that failed or crashed it."""
        while left and not self.stopping:
            batch = [pair for pair in left if not _is_isolated(pair[0])] or left[:1]
            end, log = self._run_child(batch)
            silent = [node for node, _ in batch if node.key not in self.made | self.failures.keys()]
            if silent and not any(node.key in self.failures for node, _ in batch):
                # It died without a word: on the first node that it did not answer for.
                self.failures[silent[0].key] = f"its process ended with {end}; see {log}"
            left = [p for p in left if p[0].key not in self.made and not self._is_hopeless(p[0])]

    def _is_hopeless(self, node: Node) -> bool:
        """Whether a node or one before it failed."""
        step: Node | None = node
        while step is not None:
            if step.key in self.failures:
                return True
            step = step.source
        return node.reference in self.failures

    def _run_child(self, left: Sequence[tuple[Node, Wanted]]) -> tuple[str, Path]:
        """One process for these nodes; returns how it ended and where its log is."""
        nodes = tuple(node for node, _ in left)
        known = {node.key: (node, wanted) for node, wanted in left}
        job = Job(str(self.store.root), nodes, self.context.options, self.context.weights)
        log = self.store.root / "logs" / f"{nodes[0].key}.process.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        begun = 0

        def on_line(line: str) -> None:
            nonlocal begun
            message = json.loads(line)
            if "building" in message:
                node, wanted = known[message["building"]]
                begun = len(_printed(log))
                self.emit(Event("building", wanted, node.step))
                return
            if "note" not in message:
                # What the converter printed is kept beside what else was made of the same file.
                key = message.get("built") or message["failed"]
                log.with_name(f"{key}.log").write_bytes(_printed(log)[begun:])
                self._note_end(message)
            else:
                self.emit(Event("note", text=message["note"]))

        return _child(["build"], JOB.dump_json(job), log, on_line), log

    def _note_end(self, message: Mapping[str, Any]) -> None:
        """A node was built, or failed."""
        if "built" in message:
            self.made.add(message["built"])
            return
        self.failures[message["failed"]] = message["reason"]
        if message["refused"]:
            self.refused.add(message["failed"])


def _printed(log: Path) -> bytes:
    """What a process has printed so far."""
    return log.read_bytes() if log.exists() else b""


def _groups(plan: Plan) -> list[list[Wanted]]:
    """What one process builds: a variant, or all small ones of a family, to import torch once.

    The largest group comes first, so that no core waits for it at the end.
    """
    groups: dict[str, list[Wanted]] = {}
    for wanted in plan:
        variant = VARIANTS[wanted.variant]
        small = max(variant.input_size) <= _SMALL_PIXELS
        groups.setdefault(variant.family if small else variant.name, []).append(wanted)
    return sorted(groups.values(), key=_guessed_work, reverse=True)


def _guessed_work(group: Iterable[Wanted]) -> int:
    """What a group may cost, in pixels of its inputs, before anything is known of it."""
    sizes = [VARIANTS[wanted.variant].input_size for wanted in group]
    return sum(_PIXELS_PER_FILE + math.prod(size) for size in sizes)


def _is_isolated(node: Node) -> bool:
    return node.step in STEPS and STEPS[node.step].isolated


def _needs_module(node: Node) -> bool:
    built = node.step not in STEPS or STEPS[node.step].source == "module"
    return built and node.source is None


def _child(words: list[str], stdin: bytes, log: Path, on_line: Callable[[str], None]) -> str:
    """Run ``python -m export.steps``; hands its answers on and returns how it ended."""
    log.parent.mkdir(parents=True, exist_ok=True)
    reader, writer = os.pipe()
    command = [sys.executable, "-m", "export.steps", str(writer), str(memory.child_bytes())]
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [*tied(), *command, *words],
            stdin=subprocess.PIPE,
            stdout=sink,
            stderr=subprocess.STDOUT,
            env=_environment(log.parent),
            pass_fds=(writer,),
        )
    os.close(writer)
    assert process.stdin is not None
    # A converter that hangs keeps its pipe open: only killing it ends the loop below.
    late = threading.Event()

    def stop() -> None:
        late.set()
        kill_with_children(process.pid)

    watchdog = threading.Timer(CHILD_LIMIT_S, stop)
    watchdog.start()
    try:
        with contextlib.suppress(BrokenPipeError), process.stdin as sent:
            sent.write(stdin)
        with os.fdopen(reader) as answers:
            for line in answers:
                on_line(line)
        ending = _ending(process.wait(), log)
        return f"being stopped after {CHILD_LIMIT_S:.0f} s" if late.is_set() else ending
    finally:
        watchdog.cancel()
        if process.poll() is None:
            kill_with_children(process.pid)
            process.wait()


def kill_with_children(pid: int) -> None:
    """Kill a process and all that it started: a converter runs programs of its own.

    They share the group of who started this build, and a group can only be killed whole.
    It is stopped first: it must neither start another one nor end by itself, as if all were
    well, when it sees that its programs are gone.
    """
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGSTOP)
    children = Path(f"/proc/{pid}/task/{pid}/children")
    with contextlib.suppress(OSError):
        for child in children.read_text().split():
            kill_with_children(int(child))
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def workers() -> int:
    """How many variants are built at once: by cores, and by memory for the largest of them."""
    return max(1, min(len(os.sched_getaffinity(0)), memory.machine_bytes() // _BYTES_PER_BUILD))


def _environment(logs: Path) -> dict[str, str]:
    """Cores are shared out; threads that spin at barriers would slow the other build down.

    What torch-inductor compiles to find out about the CPU is kept where the measuring
    children look for it, or the first of them would pay for it while loading.
    """
    threads = max(1, len(os.sched_getaffinity(0)) // workers())
    return {
        "OMP_NUM_THREADS": str(threads),
        "OMP_WAIT_POLICY": "passive",
        **os.environ,
        "TORCHINDUCTOR_CACHE_DIR": str(logs.absolute() / "torchinductor"),
    }


def _ending(code: int, log: Path) -> str:
    """An exit code in words."""
    name = f"exit code {code}" if code >= 0 else signal.Signals(-code).name
    last = _printed(log)[-_LAST_BYTES:].decode(errors="replace")
    # A C++ library that nobody caught ends the process with its last words in the log.
    suspect = code != 0 and memory.tells_of_lack(last)
    return f"{name} (out of memory?)" if name == "SIGKILL" or suspect else name


def _sweep(store: Store) -> None:
    """Remove what builds that were killed left half-written more than a day ago."""
    for left in (store.root / "tmp").glob("*"):
        with contextlib.suppress(FileNotFoundError):  # another run has just finished it
            if time.time() - left.stat().st_mtime > _STALE_S:
                shutil.rmtree(left, ignore_errors=True)


def _parse(argv: Sequence[str] | None) -> tuple[Request, Emit]:
    """The request and how its events are shown."""
    arguments = _parser().parse_args(argv)
    if arguments.request:
        return REQUEST.validate_json(sys.stdin.buffer.read()), _emit_json
    _check_calibration(arguments.calibration_images)
    options = Options(
        weights=arguments.weights,
        checkpoints=arguments.checkpoints,
        data=arguments.data,
        calibration_method=arguments.calibration_method,
        calibration_images=arguments.calibration_images,
        graph_level=arguments.graph_level,
        calibration_percentile=arguments.calibration_percentile,
    )
    wanted = tuple(_wanted(arguments.variants, arguments.recipes, arguments.formats))
    return Request(str(arguments.store), options, wanted, own_checks=True), _emit_text


def _check_calibration(images: int) -> None:
    """Said before anything is built, as ``bench.run`` says it."""
    if not 1 <= images <= _MOST_CALIBRATION_IMAGES:
        raise UsageError(
            f"--calibration-images {images} is not between 1 and {_MOST_CALIBRATION_IMAGES}"
        )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m export.run", description="Build model files: every variant by every recipe."
    )
    add = parser.add_argument
    add("--variants", default="revisited-base", help="names or globs, separated by commas")
    add("--recipes", default="fp32", help="names or globs, separated by commas")
    add("--formats", default="onnx", help=f"globs: {', '.join(FORMATS)}")
    add("--weights", default=DEFAULT, help="default, seeded, imagenet, or a checkpoint file")
    add("--checkpoints", default="", metavar="DIR", help="VARIANT_NAME.safetensors, for default")
    add("--data", default="", metavar="DIR_OR_ZIP", help="images for calibration and parity")
    add("--calibration-method", choices=CALIBRATION_METHODS, default="minmax")
    add("--calibration-images", type=int, default=Options.calibration_images)
    kept = "of the absolute values, with the method of that name (default: 99.999)"
    add("--calibration-percentile", type=float, default=99.999, metavar="P", help=kept)
    add("--graph-level", choices=GRAPH_LEVELS, default="all")
    add("--store", type=Path, default=default_store(), help="where built files are kept")
    add("--request", choices=["-"], help="read one request as JSON from standard input")
    return parser


def _wanted(variants: str, recipes: str, formats: str) -> list[Wanted]:
    """The files behind the command line's globs."""
    pairs = [(v, r) for v in VARIANTS for r in RECIPES if _any(r, recipes) and _any(v, variants)]
    named = [pattern.strip() for pattern in variants.split(",")]
    # A glob that an alias happens to match does not ask for another recipe.
    pairs += [
        (alias.variant, alias.recipe)
        for alias in ALIASES.values()
        if alias.name in named or (_any(alias.name, variants) and _any(alias.recipe, recipes))
    ]
    _check_names("--variants", variants, [*VARIANTS, *ALIASES])
    _check_names("--recipes", recipes, RECIPES)
    _check_names("--formats", formats, FORMATS)
    wanted = [
        Wanted(variant, recipe, format)
        for variant, recipe in dict.fromkeys(pairs)
        for format in RECIPES[recipe].chains
        if _any(format, formats)
    ]
    if not wanted:
        raise UsageError(
            f"nothing to build: --recipes {recipes} can't be made as --formats {formats}"
        )
    return wanted


def _check_names(flag: str, patterns: str, known: Iterable[str]) -> None:
    """Every pattern must match something."""
    names = list(known)
    for pattern in patterns.split(","):
        if not any(_any(name, pattern) for name in names):
            near = difflib.get_close_matches(pattern, names, n=3, cutoff=0.4)
            hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(names)}"
            raise UsageError(f"{flag}: nothing is called {pattern!r}; {hint}")


def _any(name: str, patterns: str) -> bool:
    return any(fnmatchcase(name, pattern.strip()) for pattern in patterns.split(","))


def _emit_json(event: Event) -> None:
    sys.stdout.write(EVENT.dump_json(event).decode() + "\n")
    sys.stdout.flush()


def _emit_text(event: Event) -> None:
    if event.kind == "note":
        print(event.text, flush=True)
    elif event.kind == "building":
        print(f"building {event.wanted}: {event.text}", flush=True)
    elif event.kind == "failed":
        print(f"failed   {event.wanted}: {event.text}", flush=True)
    elif event.artifact is not None:
        size = f"{event.artifact.size_bytes / 1e6:.1f} MB"
        print(f"built    {event.wanted}: {size}  {event.artifact.path}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
