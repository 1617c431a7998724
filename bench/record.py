"""Measurement, the schema number and its history; read and write.

A run is one file of JSON lines, ``OUT/records/RUN.jsonl``: the header, then a
measurement a line, in the order in which they were made. A run that is
finished is compressed to ``RUN.jsonl.gz``. A line counts once its newline is
written, so a run that was cut off anywhere is still readable.

Schema history
--------------
1  first one
2  what else a block tells: canary, clocks, cold start, shares of memory, idle CPU, the runtime's
   own graph, a scenario's result and what was around it; the host's peaks in the header; a case's
   copy, and what the copies called base are of. All of it may be absent, so that files of schema 1
   are still read.
   Later, and absent as well where nobody asked: labelled images and what was answered to them;
   how the inputs of a file are made, and the input size that its weights learnt at; how a
    search chose to quantise; whether a file's weights name their classes; a run's budget; of a
    fleet its machines, which one measured and which were lost; a note on a file by the step that
    made it; the
    files that trained weights came from; microseconds by operator.
"""

from __future__ import annotations

import contextlib
import datetime
import errno
import fcntl
import gzip
import json
import os
import re
import zlib
from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from pydantic import ConfigDict, TypeAdapter, ValidationError

from bench.case import Case
from bench.choices import Choice
from export.artifact import LayerWork

SCHEMA = 2
READABLE = (1, 2)
MAX_BYTES = 1 << 30
"""A record file that unpacks to more than this is refused: nothing of ours does."""

ANOTHER_TIME_S = 3600.0
"""Blocks of one round that began so far apart don't share what the machine did in that round."""

Status = Literal["ok", "unsupported", "failed"]


@dataclass(frozen=True)
class Memory:
    """Resident bytes of the measuring child, as the kernel reports them.

    ``anonymous_bytes`` and ``file_bytes`` are the two parts of the steady
    state. ``shareable_bytes`` are clean pages of files: a second worker of the
    same model would map them and not pay for them again (its PSS shares them).
    """

    imported_bytes: int
    steady_bytes: int
    peak_bytes: int
    anonymous_bytes: int | None = None
    file_bytes: int | None = None
    shareable_bytes: int | None = None


@dataclass(frozen=True)
class Parity:
    """Outputs on the parity images against those of the fp32 torch module."""

    max_error: float
    """Largest absolute difference over the largest absolute reference output."""
    cosine: float
    """Cosine after the mean reference output over the images was subtracted."""
    top1_agreement: float
    images: int
    passed: bool


@dataclass(frozen=True)
class Labelled:
    """The labelled images that a run's rows were asked about, the same for all of them.

    ``labels`` are positions in ``class_names``, in the order of ``Answers.predicted``.
    ``images`` is a fingerprint over names and contents; ``split`` is what they are of
    the data set, for instance ``test``.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    data: str
    split: str
    images: str
    class_names: tuple[str, ...]
    labels: tuple[int, ...]


@dataclass(frozen=True)
class Answers:
    """What a session answered to labelled images; raw, every score is derived from it.

    ``predicted`` is the class of the largest output, ``ranks`` how many classes are
    ahead of the true one (0: right): a larger output, or an equal one of a lower number.
    ``indices`` says which of the header's images these are; empty: all, in their order.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    predicted: tuple[int, ...]
    ranks: tuple[int, ...]
    indices: tuple[int, ...] = ()


@dataclass(frozen=True)
class FileFacts:
    """What a row says about its file, copied from the artifact."""

    key: str
    sha256: str
    format: str
    size_bytes: int
    parameters: int
    nonzero_parameters: int
    rounded_to_zero: int
    macs: int
    build_s: float
    build_peak_bytes: int
    layers: tuple[LayerWork, ...] = ()
    """In the order of the graph; empty for a file that is not taken apart."""
    preprocess: str = ""
    """How its inputs were made: JSON of ``export.images.Preprocess``; empty: not recorded."""
    learnt_size: tuple[int, int] | None = None
    """Height and width that its weights were trained at; ``None``: nobody said."""
    unnamed_classes: bool = False
    """Its weights don't name their classes: answers are counted in the folders' order."""
    note: str = ""
    """What the step that made it has to say of it; empty: nothing."""


@dataclass(frozen=True)
class Surroundings:
    """What the rest of the machine did during the timed loop (or LoadGen's test), in seconds of
    CPU time and counts; raw, judged later. ``None``: the host cannot tell."""

    wall_s: float
    foreign_cpu_s: float | None
    steal_s: float | None
    involuntary_switches: int
    voluntary_switches: int
    realtime_s: float | None = None
    """The loop by the wall's own clock (CLOCK_REALTIME): beside ``wall_s`` it shows a jump."""
    boottime_s: float | None = None
    """The same by CLOCK_BOOTTIME, which counts the time that a machine was suspended."""


@dataclass(frozen=True)
class Canary:
    """Seconds that one fixed piece of work took before the child was started and after it ended."""

    before_s: float
    after_s: float


@dataclass(frozen=True)
class ColdStart:
    """From the runtime's import to the first answer, in seconds: the leaves and the whole.

    ``total_s`` is read from the clock by itself. ``resident_share`` is how much
    of the model file the page cache held just before; ``None``: the host cannot tell.
    """

    import_s: float
    read_s: float
    load_s: float
    first_s: float
    total_s: float
    resident_share: float | None = None


@dataclass(frozen=True)
class Execution:
    """What the runtime made of the file: its own graph after its own optimisation.

    ``source`` says how it was asked. ``macs`` are multiply-accumulates for one
    image by the precision in which they run, ``operators`` counts nodes by type, and
    ``operator_us`` are microseconds that all nodes of a type take in one batch: medians over a few
    profiled inferences, none of which is timed as a whole. Empty: nobody profiled.
    ``unfused`` are BatchNorm and Relu nodes that still stand alone behind a
    convolution. Where the runtime can't be asked, ``reason`` says so and the rest is empty.
    """

    source: str = ""
    macs: Mapping[str, int] = field(default_factory=dict)
    operators: Mapping[str, int] = field(default_factory=dict)
    quantize_nodes: int = 0
    unfused: int = 0
    reason: str = ""
    operator_us: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Peaks:
    """What this host reaches at most with ``threads`` threads, measured by a child.

    ``macs_per_s`` by precision ("fp32", "int8", "bf16"), each the best of the
    libraries that ``measured_by`` names; ``bytes_per_s`` is read bandwidth.
    """

    threads: int
    macs_per_s: Mapping[str, float]
    bytes_per_s: float
    measured_by: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Probe:
    """One rate of a server's search: queries a second, the p99 at it, and LoadGen's verdict."""

    rate: float
    p99_s: float
    valid: bool
    reasons: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()
    """Codes of what disturbed the test, or our own loop in the same child; ``bench.validity``."""


@dataclass(frozen=True)
class LoadTest:
    """What MLPerf LoadGen says of one test over the adapter.

    ``metric`` names ``value``: "latency_p90_s" (single), "query_latency_p99_s"
    (multi), "images_per_s" (offline), "queries_per_s" (server: the highest rate
    of ``probes`` that was valid, 0 where none was).
    ``early_stopping`` is LoadGen's own estimate of the same metric, where it gives one;
    ``valid`` and ``reasons`` are LoadGen's; ``percentiles_s`` its latencies of a query,
    "p50" to "p99"; ``facts`` the settings of the test.
    """

    metric: str
    value: float
    valid: bool
    reasons: tuple[str, ...] = ()
    early_stopping: float | None = None
    queries: int = 0
    facts: Mapping[str, str] = field(default_factory=dict)
    percentiles_s: Mapping[str, float] = field(default_factory=dict)
    probes: tuple[Probe, ...] = ()
    """Of the search for the highest rate, in the order in which they were tried."""
    surroundings: Surroundings | None = None
    """During the test itself; of a search, during the test that its number is from."""


@dataclass(frozen=True)
class Workers:
    """Several single-threaded workers of one model at the same time.

    ``images_per_s`` is of all together, while all were at work; ``overlap`` is how much
    of the longest worker's time that was. ``pss_bytes`` is the memory of all, what they
    share counted once; ``None``: the host cannot tell.
    """

    count: int
    images_per_s: float
    overlap: float
    pss_bytes: int | None = None


@dataclass(frozen=True)
class Measurement:
    """One block: one fresh child process for one case. Raw: percentiles are
    derived, never stored. Times in seconds, latencies in nanoseconds."""

    __pydantic_config__ = ConfigDict(extra="forbid", ser_json_inf_nan="constants")

    case: Case
    round: int
    status: Status
    reason: str = ""
    started: str = ""
    file: FileFacts | None = None
    runtime_version: str = ""
    precision: str = ""
    """What the adapter says it computed in."""
    notes: Mapping[str, str] = field(default_factory=dict)
    """Further facts from the adapter: threads, instruction set, providers."""
    import_s: float = 0.0
    load_s: float = 0.0
    first_s: float = 0.0
    warmup_s: float = 0.0
    warmup_inferences: int = 0
    warmup_settled: bool = False
    latencies_ns: tuple[int, ...] = ()
    cpu_s: float = 0.0
    """User + system time of the child over the timed loop."""
    memory: Memory | None = None
    surroundings: Surroundings | None = None
    parity: Parity | None = None
    """Taken in the first block of a case, over the same adapter as is timed."""
    read_s: float | None = None
    """Reading the model file from the page cache, between import and load."""
    cold_start_s: float | None = None
    """From before the import to the first answer, by one reading of the clock."""
    cold: ColdStart | None = None
    """The same with the model file out of the page cache, in a child of its own."""
    idle_cpu_s: float | None = None
    """CPU time that the child used in the second after its last inference, doing nothing."""
    warmup_foreign_cpu_s: float | None = None
    warmup_steal_s: float | None = None
    warmup_switches: int | None = None
    """As in ``surroundings``, over the warm-up: beside a very short loop that is all there is."""
    canary: Canary | None = None
    block_s: float | None = None
    """The whole block as the parent saw it, children's starts and ends included."""
    execution: Execution | None = None
    load_test: LoadTest | None = None
    workers: Workers | None = None
    sampled: Answers | None = None
    """To a few labelled images, by the very session that was timed, after its loop."""
    answers: Answers | None = None
    """To all labelled images, by a child of its own."""
    machine: str = ""
    """Which one of a fleet's measured it, as in ``Fleet.machines``; empty: that of the header."""

    @property
    def pairing(self) -> tuple[int, str]:
        """What two blocks share that are a pair: what two machines measured in a round is none."""
        return self.round, self.machine


@dataclass(frozen=True)
class Against:
    """The other version of the code, with which a run's ``base`` cases were measured.

    ``name`` as it was asked for, ``commit`` what that was. ``looks`` is how often, at
    most, the rows were judged to decide which of them get further rounds: each look
    has its share of the error that all of them may make.
    """

    name: str
    commit: str
    looks: int = 1


@dataclass(frozen=True)
class Budget:
    """Seconds of measuring that a run may take; after one block of each row it chose who gets more.

    ``stopped`` is why it measured no more; empty: it was interrupted.
    """

    seconds: float
    stopped: str = ""


@dataclass(frozen=True)
class Fleet:
    """The machines that a run's blocks were measured on, all of one kind.

    ``name`` is the same for the runs of all kinds that belong together; ``kind`` is what this
    one is called, and ``machines`` are short names without meaning that tell machines apart.
    """

    name: str
    kind: str
    machines: tuple[str, ...] = ()
    price_per_hour: float | None = None
    """What one of the machines costs, in ``currency``; ``None``: nobody said."""
    currency: str = ""
    lost: Mapping[str, str] = field(default_factory=dict)
    """Of the machines those that could not go on -> why; others of the kind had their work."""


@dataclass(frozen=True)
class Checkpoint:
    """The file that a variant's weights came from: its name without folders, and its sha256.

    ``packaged``: it comes with the package; any other one is the user's own, who needs it to
    measure these rows again.
    """

    variant: str
    file: str
    sha256: str
    packaged: bool = False


@dataclass(frozen=True)
class RunHeader:
    """What all blocks of one run share; the first line of a record file."""

    __pydantic_config__ = ConfigDict(extra="forbid", ser_json_inf_nan="constants")

    schema: int
    run: str
    """Identity of the run: the same command on the same host and code resumes."""
    started: str
    command: str
    commit: str
    suite: str
    weights: str
    data: str
    blocks: int
    seconds: float
    host: Mapping[str, str]
    """Facts in the order in which they are shown: CPU, cores, memory, ..."""
    host_id: str
    versions: Mapping[str, str]
    """Distribution name -> version, of whatever was installed and is used."""
    cases: tuple[Case, ...] = ()
    """The plan, so that a report of an interrupted run names what is missing."""
    peaks: tuple[Peaks, ...] = ()
    """By number of threads."""
    against: Against | None = None
    labelled: Labelled | None = None
    """By which the rows' accuracy is judged; ``None``: nobody gave any."""
    int8_choices: tuple[Choice, ...] = ()
    """How the .onnx files of single variants were quantised to static INT8, where a search
    had chosen; the others as the command says."""
    budget: Budget | None = None
    """``None``: every row was to get ``blocks`` blocks."""
    fleet: Fleet | None = None
    """``None``: one machine measured all of it."""
    checkpoints: tuple[Checkpoint, ...] = ()
    """Of the planned variants that are built with a file of weights, in the order of the plan."""


_HEADER = TypeAdapter(RunHeader)
_MEASUREMENT = TypeAdapter(Measurement)
_RUN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")


class RecordError(Exception):
    """A record file cannot be read or written; the message is a whole sentence."""


@dataclass(frozen=True)
class Run:
    """One record file: its header and its measurements, oldest first."""

    header: RunHeader
    measurements: tuple[Measurement, ...]


def current_blocks(measurements: Iterable[Measurement]) -> dict[Case, tuple[Measurement, ...]]:
    """The blocks that count, by case in order of first appearance, each by round.

    Of one (case, round, artifact key) the last counts. A rebuilt artifact
    supersedes: only blocks with the newest key of a case count. A block that
    never got as far as a file belongs to the artifact that was current then.
    """
    newest: dict[Case, str] = {}
    blocks: dict[tuple[Case, str], dict[int, Measurement]] = {}
    for block in measurements:
        key = block.file.key if block.file else newest.get(block.case, "")
        newest[block.case] = key
        blocks.setdefault((block.case, key), {})[block.round] = block
    return {
        case: tuple(by_round[number] for number in sorted(by_round))
        for case, by_round in ((case, blocks[case, key]) for case, key in newest.items())
    }


def apart_s(started: str, other: str) -> float:
    """Seconds between the beginnings of two blocks, later ones positive; 0 where one is unknown."""
    parse = datetime.datetime.fromisoformat
    try:
        return (parse(started) - parse(other)).total_seconds()
    except (ValueError, TypeError):  # none was recorded, or with a time zone only one of them
        return 0.0


def find_runs(out: Path) -> list[Path]:
    """The record files below ``out``, by name; of a run that is both live and
    compressed, the live one, because it is never behind."""
    folder = out / "records"
    live = {path.name.removesuffix(".jsonl"): path for path in folder.glob("[!.]*.jsonl")}
    packed = {path.name.removesuffix(".jsonl.gz"): path for path in folder.glob("[!.]*.jsonl.gz")}
    return [path for _, path in sorted({**packed, **live}.items())]


def check_runs(out: Path) -> None:
    """Make sure that a page can be written from what stands below ``out``.

    Raises ``RecordError`` for a file that is not ours or is damaged, before hours are spent.
    """
    for path in find_runs(out):
        read_run(path)


def read_header(path: Path) -> RunHeader:
    """The first line of a record file; raises ``RecordError`` as ``read_run`` does."""
    with contextlib.closing(whole_lines(path)) as lines:
        return _header(next(lines, None), path)


def read_run(path: Path) -> Run:
    """Read ``RUN.jsonl`` or ``RUN.jsonl.gz``; a torn last line is left out.

    Raises ``RecordError``, naming file and line, for another schema number, a
    foreign or damaged file, and a field that we do not know.
    """
    with contextlib.closing(whole_lines(path)) as lines:
        header = _header(next(lines, None), path)
        return Run(header, tuple(_measurement(line, path, i) for i, line in enumerate(lines, 2)))


def whole_lines(path: Path) -> Generator[bytes, None, None]:
    """The lines of a file that end in a newline; not more than ``MAX_BYTES`` of them."""
    left = MAX_BYTES
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as stream:
            while line := stream.readline(left + 1):
                left -= len(line)
                if left < 0:
                    raise RecordError(f"{path}: more than {MAX_BYTES} bytes: not a record of ours")
                if line.endswith(b"\n"):
                    yield line
    except (OSError, EOFError, zlib.error) as exc:
        raise RecordError(f"{path}: cannot be read: {exc}") from exc


def _header(line: bytes | None, path: Path) -> RunHeader:
    """Check whose file this is before looking at its fields."""
    try:
        schema = json.loads(line or b"")["schema"]
    except (ValueError, TypeError, KeyError, RecursionError) as exc:
        raise RecordError(f"{path} line 1: not the header of a deploybench run") from exc
    if schema not in READABLE:
        raise RecordError(
            f"{path} line 1: schema {schema!r}, but this version reads up to schema {SCHEMA}: "
            "read it with the version that wrote it"
        )
    try:
        return _HEADER.validate_json(line or b"")
    except ValidationError as exc:
        raise RecordError(f"{path} line 1: {_first_error(exc)}") from exc


def _measurement(line: bytes, path: Path, number: int) -> Measurement:
    try:
        return _MEASUREMENT.validate_json(line)
    except ValidationError as exc:
        raise RecordError(f"{path} line {number}: {_first_error(exc)}") from exc


def _first_error(exc: ValidationError) -> str:
    """Where and what, in a line."""
    error = exc.errors(include_url=False, include_input=False)[0]
    place = ".".join(str(part) for part in error["loc"])
    return f"{place}: {error['msg']}" if place else error["msg"]


def write_run(path: Path, run: Run) -> None:
    """Write a run as a file of lines that ``read_run`` reads; raises ``RecordError``."""
    write_atomically(path, _lines(run))


def write_atomically(path: Path, data: bytes) -> None:
    """Replace ``path`` as a whole: a reader sees the old file or the new one.

    Raises ``RecordError`` where it cannot be written; the old file then stands.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with aside.open("wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        aside.replace(path)
        _sync_folder(path.parent)
    except OSError as exc:
        with contextlib.suppress(OSError):
            aside.unlink(missing_ok=True)
        raise RecordError(f"{_trouble(exc)}: {path} could not be written") from exc


def _sync_folder(folder: Path) -> None:
    """Make a rename last through a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _trouble(exc: OSError) -> str:
    """What stopped a write; a quota and a file-size limit are full disks to a user."""
    full = exc.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    return f"disk full ({exc.strerror})" if full else str(exc.strerror or exc)


class Recorder:
    """Appends the measurements of one run to its file, each as soon as it exists.

    ``header`` and ``measurements`` hold what stands in the file, blocks of an
    earlier, interrupted start included. Use it as a context manager; leaving
    it early keeps the live file, ``finish`` compresses it.
    """

    def __init__(self, path: Path, run: Run, descriptor: int, lock: int) -> None:
        self.path = path
        self.header = run.header
        self.measurements = list(run.measurements)
        self._descriptor = descriptor
        self._lock = lock
        self._size = os.fstat(descriptor).st_size
        self._keeps = True
        self._count = len(run.measurements)

    def forget(self) -> None:
        """Keep blocks in the file alone from now on: of a long run they are many."""
        self.measurements.clear()
        self._keeps = False

    @classmethod
    def open(cls, out: Path, header: RunHeader, beside: Recorder | None = None) -> Recorder:
        """Begin the run ``header.run`` below ``out``, or go on with it.

        ``beside`` is another one of this process that records below ``out`` at the same time.
        Going on keeps all earlier blocks and the first start's header, and adds
        the cases of ``header`` to the plan. Raises ``RecordError`` where the
        file cannot be written, belongs to another host or other weights, or
        where another process is recording below ``out``.
        """
        if not _RUN_NAME.fullmatch(header.run):
            raise ValueError(f"{header.run!r} cannot be the name of a run: it names a file")
        path = out / "records" / f"{header.run}.jsonl"
        lock = _locked(path.parent) if beside is None else os.dup(beside._lock)
        with contextlib.ExitStack() as undo:
            undo.callback(os.close, lock)
            run = _continued(path, header)
            # Written anew as a whole: that drops a torn tail, unpacks a
            # finished run and updates the plan, all in one way.
            write_atomically(path, _lines(run))
            descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
            undo.pop_all()
        return cls(path, run, descriptor, lock)

    def append(self, measurement: Measurement) -> None:
        """Write one line and wait until it is on the disk.

        Raises ``RecordError`` where it cannot be; earlier lines stay as they are.
        """
        line = _MEASUREMENT.dump_json(measurement) + b"\n"
        try:
            _write_all(self._descriptor, line)
            os.fsync(self._descriptor)
        except OSError as exc:
            # Should even this fail, the torn line is dropped when next opened.
            with contextlib.suppress(OSError):
                os.ftruncate(self._descriptor, self._size)
            raise RecordError(
                f"{_trouble(exc)}: the {self._count} blocks measured so far are "
                f"intact in {self.path}; make room and start the same command again to go on"
            ) from exc
        self._size += len(line)
        self._count += 1
        if self._keeps:
            self.measurements.append(measurement)

    def amend(self, header: RunHeader) -> None:
        """Replace the header, of the same run, by one that knows more; the blocks stay.

        Raises ``RecordError`` where it cannot be written; the old one then stands.
        """
        if header.run != self.header.run:
            raise ValueError(f"{header.run} is not the run that is recorded, {self.header.run}")
        _, _, blocks = self.path.read_bytes().partition(b"\n")
        write_atomically(self.path, _HEADER.dump_json(header) + b"\n" + blocks)
        os.close(self._descriptor)
        self._descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        self._size = os.fstat(self._descriptor).st_size
        self.header = header

    def finish(self) -> Path:
        """Compress the file, remove the live one, and close; returns the new path.

        The same records give the same bytes. Raises ``RecordError`` where the
        compressed file cannot be written; the live one then stays.
        """
        packed = self.path.with_name(f"{self.path.name}.gz")
        plain = self.path.read_bytes()
        if not _unpacks_to(packed, plain):
            write_atomically(packed, gzip.compress(plain, mtime=0))
        self.path.unlink()
        self.close()
        return packed

    def close(self) -> None:
        """Let go of the file and the lock; a second call does nothing."""
        for descriptor in (self._descriptor, self._lock):
            if descriptor >= 0:
                os.close(descriptor)
        self._descriptor = self._lock = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is not None and self._keeps and not self.measurements:
            self.path.unlink(missing_ok=True)  # nothing was measured: no trace of it
        self.close()


def _locked(folder: Path) -> int:
    """A lock on the records folder, as a descriptor; the system drops it with the process."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as exc:
        raise RecordError(f"{_trouble(exc)}: no records can be kept in {folder}") from exc
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as exc:
        os.close(descriptor)
        raise RecordError(
            f"another run is recording in {folder}: two at once would also disturb "
            "each other's times; wait for it, or give --out another folder"
        ) from exc
    return descriptor


def _continued(path: Path, header: RunHeader) -> Run:
    """What the file of this run holds by now, with the plan of ``header`` added."""
    known = {found.name.removesuffix(".gz"): found for found in find_runs(path.parents[1])}
    if path.name not in known:
        return Run(header, ())
    earlier = read_run(known[path.name])
    for name in ("host_id", "weights"):
        ours, theirs = getattr(header, name), getattr(earlier.header, name)
        if ours != theirs:
            raise RecordError(
                f"{known[path.name]} was measured with {name} {theirs}, this run has {ours}: "
                "they are never mixed; give --out another folder"
            )
    cases = dict.fromkeys((*earlier.header.cases, *header.cases))
    # Date, commit and command stay those under which it was begun: its code is the same.
    files = dict.fromkeys((*earlier.header.checkpoints, *header.checkpoints))
    header = replace(earlier.header, schema=SCHEMA, cases=tuple(cases), checkpoints=tuple(files))
    return Run(header, earlier.measurements)


def _lines(run: Run) -> bytes:
    """The whole file of a run."""
    lines = [_HEADER.dump_json(run.header), *map(_MEASUREMENT.dump_json, run.measurements)]
    return b"\n".join(lines) + b"\n"


def _write_all(descriptor: int, data: bytes) -> None:
    """Write until nothing is left: a disk that is nearly full takes a part first."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _unpacks_to(packed: Path, plain: bytes) -> bool:
    """Whether a finished file already says the same; another zlib would write other bytes."""
    try:
        return packed.exists() and b"".join(whole_lines(packed)) == plain
    except RecordError:
        return False
