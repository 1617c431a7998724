"""``python -m bench.run --ray``: the same run on every kind of machine in a Ray cluster.

The plan is made once; each kind gets a run of its own, recorded as one on a single machine would
be. A machine that measures is reserved whole, and measures through ``bench.block`` as ever; what
builds and answers shares no machine with it. This process only hands out and writes down.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

from bench import (
    blocks,
    files,
    fleet_page,
    header,
    kinds,
    labelled,
    on_host,
    peaks,
    prices,
    report,
    rows,
)
from bench.block import Effort, beside
from bench.blocks import Told
from bench.case import Case, crossover, plan, unsupported
from bench.cluster import Cluster, HostLost, Reserved, connected, fetch
from bench.files import Source, file_key
from bench.fleet_board import Board
from bench.fleet_build import Builder, inputs_of, said_store
from bench.fleet_queue import MOST_LOST, Job, Queue
from bench.kinds import Kind, Machine
from bench.labelled import Images
from bench.on_host import Inputs, Task
from bench.options import Options, UsageError, parse
from bench.parcel import Fetch
from bench.prices import Prices
from bench.record import Answers, Fleet, Measurement, Peaks, Recorder, current_blocks, read_run

_PAUSE_S = 0.2
_POLL_S = 0.5
"""How often the main thread looks whether somebody wants to stop."""


@dataclass(frozen=True)
class Work:
    """The functions that machines are asked to run: those of ``bench.on_host``, or fakes."""

    measure: Callable[[Task, Fetch], Measurement]
    answer: Callable[[Measurement, Task, Fetch], tuple[Answers | None, str]]
    peak: Callable[[int, str], tuple[Peaks, tuple[str, ...]]]


def _real_work() -> Work:
    return Work(on_host.measure, on_host.answer, on_host.peak)


@dataclass
class Running:
    """The run of one kind: what is recorded, and what is left to do."""

    kind: Kind
    options: Options
    sources: dict[Case, Source]
    recorder: Recorder
    effort: Effort
    told: Told = field(default_factory=Told)
    queue: Queue = field(default_factory=lambda: Queue(()))
    to_answer: list[Measurement] = field(default_factory=list)
    """First blocks whose cases have not been asked about all labelled images."""
    lock: threading.Lock = field(default_factory=threading.Lock)
    questions: dict[Case, object] = field(default_factory=dict)
    """References to what each case is asked."""
    open_rounds: dict[Case, int] = field(default_factory=dict)
    peaks: dict[int, Peaks] = field(default_factory=dict)
    """By threads, the largest of all its machines so far."""
    work: Work = field(default_factory=_real_work)
    answering: int = 0
    """Cases whose answers are awaited."""

    def settled(self) -> bool:
        """Whether nothing is left, nor can come back from a machine that is lost."""
        with self.lock:
            return self.queue.settled() and not self.to_answer and not self.answering


def run(options: Options, words: Sequence[str], heed_signals: Callable[[], None]) -> int:
    """One run in the cluster at ``options.ray``; returns the exit code of ``bench.run``.

    ``heed_signals`` makes them interrupt this process, which Ray has its own mind about.
    """
    stop = threading.Event()
    with connected(options.ray) as cluster, Board() as board:
        heed_signals()
        kinds_found = found(cluster, options)
        if cluster.dashboard:
            board.say(f"Ray's own page: {cluster.dashboard}")
        for text in kinds.warnings(kinds_found):
            board.say(text)
        with ExitStack() as stack:
            return _run(cluster, kinds_found, options, words, board, stack, stop)


def usual_options(address: str) -> Options:
    """Those of a run of which nothing is said but where."""
    return parse(["--ray", address])


def found(cluster: Cluster, options: Options) -> tuple[Kind, ...]:
    """The machines of the cluster by kind, all with the same versions as this one."""
    store = said_store(options)
    asked = [(node, cluster.on(node, 0, on_host.describe, store)) for node in cluster.nodes()]
    machines = []
    for node, reply in asked:
        try:
            machines.append(Machine(node, reply.get()))
        except HostLost as exc:
            raise UsageError(f"--ray: node {node.address} is gone: {exc}") from exc
        except ImportError as exc:
            raise UsageError(
                f"--ray: node {node.address} can't import this project ({exc}): install the same "
                "deploybench there"
            ) from exc
    kinds.check_same(machines, on_host.describe(store))
    return kinds.kinds_of(machines)


def _run(
    cluster: Cluster,
    found: Sequence[Kind],
    options: Options,
    words: Sequence[str],
    board: Board,
    stack: ExitStack,
    stop: threading.Event,
) -> int:
    costs = prices.read(options.prices) if options.prices else None
    if costs is not None:
        prices.check_names(options.prices, costs, [kind.name for kind in found])
    planned, images = _planned(found, options)
    running = _recorders(found, planned, options, words, images, costs, stack)
    inputs = inputs_of(
        options, {case.variant for cases in planned.values() for case in cases}, cluster
    )
    _build(cluster, running, planned, options, inputs, board)
    if images is not None:
        _ask(cluster, running, images, inputs, board)
    for one in running:
        hand_out(one, board)
    try:
        measure_all(cluster, running, board, stop)
    except KeyboardInterrupt:
        stop.set()
    return _finish(running, options, board, stop)


# --- the plan


def _planned(
    found: Sequence[Kind], options: Options
) -> tuple[dict[str, tuple[Case, ...]], Images | None]:
    """By kind its cases, which differ in the number of threads at most; and the labelled images."""
    planned: dict[str, tuple[Case, ...]] = {}
    weights: Mapping[str, object] = {}
    for kind in found:
        own = plan(_of_kind(options, kind))
        fitting = files.fitting(own, options)
        planned[kind.name], weights = fitting.cases, fitting.weights
    cases = [case for own in planned.values() for case in own]
    images = labelled.chosen(cases, options)
    if images is not None:
        labelled.check(images, cases, weights, options)  # type: ignore[arg-type]
    return planned, images


def _of_kind(options: Options, kind: Kind) -> Options:
    """The options of a run on such a machine alone: its own number of threads."""
    return replace(options, threads=options.threads or (kind.cores,))


def _recorders(
    found: Sequence[Kind],
    planned: Mapping[str, Sequence[Case]],
    options: Options,
    words: Sequence[str],
    images: Images | None,
    costs: Prices | None,
    stack: ExitStack,
) -> list[Running]:
    """A record for each kind, before anything is built."""
    name = _fleet_name(options)
    running: list[Running] = []
    for kind in found:
        cases = planned[kind.name]
        own = _of_kind(options, kind)
        pairs = rows.twins(case for case in cases if unsupported(case) is None)
        head = header.header(
            own,
            (*cases, *pairs),
            words,
            None,
            images.labelled if images else None,
            files.int8_choices(cases, own),
            kind.facts,
            _members(name, kind, costs),
        )
        beside = running[0].recorder if running else None
        recorder = stack.enter_context(Recorder.open(options.out, head, beside))
        _join(recorder, head.fleet)
        told = Told(pairs, recorder.measurements)
        running.append(Running(kind, own, {}, recorder, blocks.effort_of(own), told))
    return running


def _members(name: str, kind: Kind, costs: Prices | None) -> Fleet:
    machines = tuple(dict.fromkeys(machine.own.machine for machine in kind.machines))
    price = costs.per_hour.get(kind.name) if costs else None
    return Fleet(name, kind.name, machines, price, costs.currency if costs else "")


def _join(recorder: Recorder, fleet: Fleet | None) -> None:
    """A run that goes on keeps its machines, and takes what is said of prices now."""
    known = recorder.header.fleet
    if fleet is None or known == fleet:
        return
    machines = tuple(dict.fromkeys((*(known.machines if known else ()), *fleet.machines)))
    if known and not fleet.currency:
        fleet = replace(fleet, price_per_hour=known.price_per_hour, currency=known.currency)
    recorder.amend(replace(recorder.header, fleet=replace(fleet, machines=machines)))


def _fleet_name(options: Options) -> str:
    """The same for every kind of machine: what is asked and by which code."""
    asked = header.asked(options)
    facts = (asked, header.code_of(header.ROOT), sorted(on_host.versions().items()))
    return f"{options.suite}-{hashlib.sha256(repr(facts).encode()).hexdigest()[:8]}"


# --- files and questions


def _build(
    cluster: Cluster,
    running: Sequence[Running],
    planned: Mapping[str, Sequence[Case]],
    options: Options,
    inputs: Inputs,
    board: Board,
) -> None:
    """Have all files built and brought to where they are measured."""
    keys = [
        file_key(case) for cases in planned.values() for case in cases if unsupported(case) is None
    ]
    builder = Builder(cluster, [one.kind for one in running], options, inputs, board.say)
    built = builder.build(keys)
    for one in running:
        cases = planned[one.kind.name]
        pairs = rows.twins(case for case in cases if unsupported(case) is None)
        own = built[one.kind.machines[0].own.instruction_sets]
        sources = files.sources((*cases, *pairs), own)
        one.sources = {case: _possible(case, source, one.kind) for case, source in sources.items()}
        for node_id in builder.lost:
            one.kind = kinds.without(one.kind, node_id)


def _possible(case: Case, source: Source, kind: Kind) -> Source:
    """The source, unless the kind has fewer cores than the case has threads."""
    if case.threads <= kind.cores:
        return source
    cores = f"{kind.cores} core{'' if kind.cores == 1 else 's'}"
    return Source(status="unsupported", reason=f"{kind.name} has {cores} to use")


def _ask(
    cluster: Cluster, running: Sequence[Running], images: Images, inputs: Inputs, board: Board
) -> None:
    """What each case is asked about the labelled images, which every machine gets ready."""
    assert inputs.data is not None
    for one in running:
        artifacts = {case: row.artifact for case, row in one.sources.items() if row.artifact}
        asked = labelled.questions(images, artifacts, one.options)
        for line in asked.notes:
            board.say(line)
        sent = {case: on_host.sendable(q) for case, q in asked.questions.items()}
        one.sources = {
            case: replace(source, question=sent.get(case), unasked=asked.reasons.get(case, ""))
            for case, source in one.sources.items()
        }
        one.questions = {case: cluster.keep(question) for case, question in sent.items()}
    questions = {
        q.pixels.name: q for one in running for s in one.sources.values() if (q := s.question)
    }
    machines = [machine for one in running for machine in one.kind.machines]
    by_store = {machine.own.store_id: machine for machine in machines}
    store = said_store(running[0].options)
    replies = [
        (
            m,
            cluster.on(
                m.node, 0, on_host.prepare, list(questions.values()), inputs.data, store, fetch
            ),
        )
        for m in by_store.values()
    ]
    for machine, reply in replies:
        try:
            reply.get()
        except HostLost as exc:
            # It is found to be gone once more when it should measure, and left out there.
            board.say(f"resizing images on {machine.shown}: {exc}")


# --- measuring


def hand_out(one: Running, board: Board) -> None:
    """Make the queue of what a kind does not have yet."""
    usual = list(crossover(tuple(one.sources), one.options.blocks, one.options.seed))
    left = blocks.left(usual, one.recorder.measurements, one.sources)
    one.open_rounds = _counts(left)
    board.planned(one.kind.name, len(left), one.kind.machines)
    for number, case in left:
        if one.sources[case].artifact is None:
            _record(one, blocks.without_file(number, case, one.sources[case]), None, board)
    there = [job for job in left if one.sources[job[1]].artifact is not None]
    one.queue = Queue(there, len(one.kind.machines))
    # An earlier start may have been ended before its answers came.
    for case, own in current_blocks(one.recorder.measurements).items():
        source = one.sources.get(case)
        if source and blocks.unanswered(own[0], source) and own[0].answers is None:
            one.to_answer.append(own[0])
    one.recorder.forget()
    if not one.kind.machines:
        _fail_rest(one, "all were lost before anything was measured", board)


def _counts(jobs: Iterable[Job]) -> dict[Case, int]:
    counts: dict[Case, int] = {}
    for _, case in jobs:
        counts[case] = counts.get(case, 0) + 1
    return counts


def measure_all(
    cluster: Cluster,
    running: Sequence[Running],
    board: Board,
    stop: threading.Event,
) -> None:
    """A thread for each machine; a slow one holds nobody up. Raises what one of them raised."""
    pairs = [(one, machine) for one in running for machine in one.kind.machines]
    # Several nodes may be one machine, which measures one thing at a time all the same.
    turns = {machine.own.machine: threading.Lock() for _, machine in pairs}
    with ThreadPoolExecutor(max(1, len(pairs))) as pool:
        futures: set[Future[None]] = {
            pool.submit(_on_machine, cluster, one, machine, turns[machine.own.machine], board, stop)
            for one, machine in pairs
        }
        try:
            while futures:
                done, futures = wait(futures, _POLL_S, FIRST_EXCEPTION)
                for future in done:
                    future.result()
        except BaseException:
            stop.set()
            cluster.abandon()
            raise


def _on_machine(
    cluster: Cluster,
    one: Running,
    machine: Machine,
    turn: threading.Lock,
    board: Board,
    stop: threading.Event,
) -> None:
    """All that one machine measures and answers, until there is nothing left or it is lost."""
    try:
        while not stop.is_set() and not one.settled():
            _measures(cluster, one, machine, turn, board, stop)
            _answers(cluster, one, machine, turn, board, stop)
            # Another machine may be lost, and what it has come back.
            stop.wait(_PAUSE_S)
        board.doing(machine, "done")
    except HostLost as exc:
        if stop.is_set():
            return
        board.doing(machine, "lost")
        board.say(f"{one.kind.name}: {machine.shown} is lost: {exc}")
        _give_back(one, machine, str(exc), board)


def _measures(
    cluster: Cluster,
    one: Running,
    machine: Machine,
    turn: threading.Lock,
    board: Board,
    stop: threading.Event,
) -> None:
    """Blocks, one after the other, on a machine that nobody else uses meanwhile."""
    job = one.queue.take(machine.node.id)
    if job is None:
        return
    board.doing(machine, "waiting for all of its cores")
    reserved = cluster.reserve(machine.node)
    try:
        _measure_peaks(one, reserved, turn, board)
        while job is not None and not stop.is_set():
            number, case = job
            with turn:
                board.doing(machine, f"round {number + 1}: {case}")
                task = _task(one, case, number)
                block = reserved.call(one.work.measure, task, fetch).get()
            _record(one, block, machine, board)
            one.queue.done(machine.node.id)
            job = one.queue.take(machine.node.id)
        # One disturbed moment before the run would make every share of the attainable too high.
        if not stop.is_set():
            _measure_peaks(one, reserved, turn, board)
    finally:
        reserved.free()


def _task(one: Running, case: Case, number: int) -> Task:
    source = one.sources[case]
    assert source.artifact is not None
    with one.lock:
        effort = blocks.asked_of(source, case, one.effort, one.told)
    store = said_store(one.options)
    bare = replace(effort, question=None)
    return Task(case, number, source.artifact, bare, one.options, store, one.questions.get(case))


def _record(one: Running, block: Measurement, machine: Machine | None, board: Board) -> None:
    """Write one block down at once, and note what it leaves to be asked."""
    source = one.sources[block.case]
    with one.lock:
        block = blocks.with_known(block, source, one.told)
        one.recorder.append(block)
        one.told.add(block)
        if blocks.unanswered(block, source) and block.answers is None:
            one.to_answer.append(block)
        one.open_rounds[block.case] -= 1
        last = one.open_rounds[block.case] == 0
    board.measured(one.kind.name, machine, block, last)


def _measure_peaks(one: Running, reserved: Reserved, turn: threading.Lock, board: Board) -> None:
    """What a machine reaches, with each number of threads that its rows have."""
    threads = sorted({case.threads for case in one.sources if case.threads <= one.kind.cores})
    store = said_store(one.options)
    with turn:
        found = [reserved.call(one.work.peak, n, store).get() for n in threads]
    _keep_peaks(one, found, board)


def _keep_peaks(one: Running, found: Iterable[tuple[Peaks, Sequence[str]]], board: Board) -> None:
    """Keep the larger of each figure of the kind.

    The first ones are written down at once, what raises them at the end: a header is changed by
    writing the whole file again, which a thousand machines must not do twice each.
    """
    with one.lock:
        known = {row.threads: row for row in one.recorder.header.peaks}
        for row, said in found:
            for text in said:
                board.say(f"{one.kind.name}: {text}")
            best = one.peaks.get(row.threads) or known.get(row.threads)
            one.peaks[row.threads] = peaks.larger(best, row) if best else row
        if not one.peaks.keys() <= known.keys():
            _write_peaks(one)


def _write_peaks(one: Running) -> None:
    known = {row.threads: row for row in one.recorder.header.peaks}
    found = tuple({**known, **one.peaks}.values())
    if found != one.recorder.header.peaks:
        one.recorder.amend(replace(one.recorder.header, peaks=found))


def _answers(
    cluster: Cluster,
    one: Running,
    machine: Machine,
    turn: threading.Lock,
    board: Board,
    stop: threading.Event,
) -> None:
    """Ask children about all labelled images: as ordinary tasks, on cores that are free."""
    while not stop.is_set():
        with one.lock:
            if not one.to_answer:
                return
            block = one.to_answer.pop(0)
            one.answering += 1
        board.doing(machine, f"accuracy: {block.case}")
        task = _task(one, block.case, block.round)
        cores = min(block.case.threads, machine.node.cpus)
        try:
            with turn:
                answers, reason = cluster.on(
                    machine.node, cores, one.work.answer, block, task, fetch
                ).get()
        except HostLost:
            with one.lock:
                one.to_answer.insert(0, block)
                one.answering -= 1
            raise
        done = replace(block, answers=answers)
        if reason:
            done = beside(done, reason)
        with one.lock:
            one.recorder.append(done)
            one.told.add(done)
            one.answering -= 1


def _give_back(one: Running, machine: Machine, why: str, board: Board) -> None:
    """What a lost machine had goes to the others of its kind, or fails where there are none."""
    given_up = one.queue.lose(machine.node.id)
    with one.lock:
        one.kind = kinds.without(one.kind, machine.node.id)
    if given_up is not None:
        number, case = given_up
        text = f"{MOST_LOST} machines were lost while they measured it, the last: {why}"
        _record(one, Measurement(case, number, "failed", text), None, board)
    if one.kind.machines:
        return
    _fail_rest(one, f"the last one: {why}", board)


def _fail_rest(one: Running, why: str, board: Board) -> None:
    """What nobody is left to measure becomes rows that say so."""
    for number, case in one.queue.rest():
        text = f"no machine of {one.kind.name} is left: {why}"
        _record(one, Measurement(case, number, "failed", text), None, board)


# --- the end


def _finish(
    running: Sequence[Running], options: Options, board: Board, stop: threading.Event
) -> int:
    """Close the records, write the tables of each kind and the one across them."""
    failed = False
    runs = []
    for one in running:
        _write_peaks(one)
        found = read_run(one.recorder.path if stop.is_set() else one.recorder.finish())
        runs.append(found)
        current = current_blocks(found.measurements)
        states = [block.status for case in one.sources for block in current.get(case, ())]
        failed = failed or "failed" in states or bool(one.to_answer)
    report.write(options.out)
    board.say(fleet_page.summary(runs))
    name = running[0].recorder.header.fleet
    board.say(f"all of it: {options.out / fleet_page.page_name(name.name if name else '')}")
    if stop.is_set():
        left = sum(one.queue.left for one in running)
        board.say(f"interrupted: {left} blocks are left; the same command goes on from here")
        return 130
    return int(failed)
