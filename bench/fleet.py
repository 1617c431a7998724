"""``python -m bench.run --ray``: the same run on every kind of machine in a Ray cluster.

The plan is made once; each kind gets a run of its own, recorded as one on a single machine would
be. A machine that measures is reserved whole, and measures through ``bench.block`` as ever; what
builds and answers shares no machine with it. This process only hands out and writes down.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace

from bench import (
    blocks,
    files,
    fleet_page,
    fleet_prepare,
    header,
    kinds,
    labelled,
    on_host,
    prices,
    report,
    rows,
)
from bench.blocks import Told
from bench.case import Case, left_out, plan, unsupported
from bench.cluster import Cluster, HostLost, connected
from bench.command_line import parse
from bench.files import Source, file_key
from bench.fleet_board import Board
from bench.fleet_build import Builder, inputs_of, said_store
from bench.fleet_join import Latecomers
from bench.fleet_measure import hand_out, measure_all
from bench.fleet_running import Running, write_header
from bench.kinds import Kind, Machine
from bench.labelled import Images
from bench.on_host import Inputs
from bench.options import Options, UsageError
from bench.prices import Prices
from bench.record import Fleet, Recorder, current_blocks, read_run


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
            raise UsageError(f"--ray: node {node.address} can't be used: {exc}") from exc
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
    planned, images = _planned(found, options, board)
    running = _recorders(found, planned, options, words, images, costs, stack)
    inputs = inputs_of(
        options, {case.variant for cases in planned.values() for case in cases}, cluster
    )
    late = Latecomers(cluster, found, said_store(options), board.say)
    _build(cluster, running, options, inputs, board, late)
    if images is not None:
        _ask(cluster, running, images, inputs, board)
    for one in running:
        hand_out(one, board)
    try:
        measure_all(cluster, running, board, stop, late.turn_away)
    except KeyboardInterrupt:
        stop.set()
    return _finish(running, options, board, stop)


# --- the plan


def _planned(
    found: Sequence[Kind], options: Options, board: Board
) -> tuple[dict[str, tuple[Case, ...]], Images | None]:
    """By kind its cases, which differ in the number of threads at most; and the labelled images."""
    planned: dict[str, tuple[Case, ...]] = {}
    weights: Mapping[str, object] = {}
    misfits: Mapping[str, str] = {}
    for kind in found:
        own = plan(_of_kind(options, kind))
        planned[kind.name], misfits, weights = files.fitting(own, options)
    for line in (*left_out(options), *files.misfit_notes(misfits)):
        board.say(line)
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
        own = _of_kind(options, kind)
        planned_here = planned[kind.name]
        pairs = rows.twins(case for case in planned_here if unsupported(case) is None)
        cases = (*planned_here, *pairs)
        head = header.header(
            own,
            cases,
            words,
            None,
            images.labelled if images else None,
            files.int8_choices(planned_here, own),
            kind.facts,
            _members(name, kind, costs),
        )
        _check_apart(head.run, kind, running)
        beside = running[0].recorder if running else None
        recorder = stack.enter_context(Recorder.open(options.out, head, beside))
        _join(recorder, head.fleet)
        told = Told(pairs, recorder.measurements)
        effort = blocks.effort_of(own)
        running.append(Running(kind, own, cases, recorder, effort, told=told))
    return running


def _check_apart(run: str, kind: Kind, running: Sequence[Running]) -> None:
    """Raise :class:`UsageError` for a record that another kind has: one would replace the other."""
    for other in running:
        if other.recorder.header.run == run:
            raise UsageError(
                f"--ray: {other.kind.name} and {kind.name} would have the same record, {run}: "
                "give the nodes of one of them a name (--resources '{\"host-kind:NAME\": 1}')"
            )


def _members(name: str, kind: Kind, costs: Prices | None) -> Fleet:
    machines = tuple(dict.fromkeys(machine.own.machine for machine in kind.machines))
    price = costs.per_hour.get(kind.name) if costs else None
    return Fleet(name, kind.name, machines, price, costs.currency if costs else "")


def _join(recorder: Recorder, fleet: Fleet | None) -> None:
    """A run that goes on keeps its machines, and takes what is said of prices now.

    One that was lost and is there again is not lost any more.
    """
    known = recorder.header.fleet
    if fleet is None or known == fleet:
        return
    machines = tuple(dict.fromkeys((*(known.machines if known else ()), *fleet.machines)))
    if known and not fleet.currency:
        fleet = replace(fleet, price_per_hour=known.price_per_hour, currency=known.currency)
    there = fleet.machines
    lost = {name: why for name, why in (known.lost if known else {}).items() if name not in there}
    recorder.amend(replace(recorder.header, fleet=replace(fleet, machines=machines, lost=lost)))


def _fleet_name(options: Options) -> str:
    """The same for every kind of machine: what is asked and by which code."""
    asked = header.asked(options)
    facts = (asked, header.code_of(header.ROOT), sorted(on_host.versions().items()))
    return f"{options.suite}-{hashlib.sha256(repr(facts).encode()).hexdigest()[:8]}"


# --- files and questions


def _build(
    cluster: Cluster,
    running: Sequence[Running],
    options: Options,
    inputs: Inputs,
    board: Board,
    late: Latecomers,
) -> None:
    """Have all files built and brought to where they are measured."""
    keys = [file_key(case) for one in running for case in one.cases if unsupported(case) is None]
    machines = [one.kind for one in running]
    builder = Builder(cluster, machines, options, inputs, board.say, late.machine)
    built = builder.build(keys)
    for text in dict.fromkeys(text for own in built.values() for text in files.size_notes(own)):
        board.say(text)
    by_name = {one.kind.name: one for one in running}
    for name, machine in late.joined():
        own, one = built.get(machine.own.instruction_sets), by_name[name]
        if own is not None and builder.bring_all(own, machine):
            one.take_in(machine)
        else:
            why = builder.lost.get(machine.node.id, "nothing was built for its instruction sets")
            _leave_out(one, machine, why, board)
    for one in running:
        own = built[one.kind.machines[0].own.instruction_sets]
        sources = files.sources(one.cases, own)
        one.sources = {case: _possible(case, source, one.kind) for case, source in sources.items()}
        for machine in one.kind.machines:
            if machine.node.id in builder.lost:
                _leave_out(one, machine, builder.lost[machine.node.id], board)


def _leave_out(one: Running, machine: Machine, why: str, board: Board) -> None:
    board.say(f"{one.kind.name}: {machine.shown} is left out: {why}")
    one.leave_out(machine, why)


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
    of_machine = {machine.node.id: one for one in running for machine in one.kind.machines}
    fleet_prepare.prepare(
        cluster,
        [machine for one in running for machine in one.kind.machines],
        list(questions.values()),
        inputs.data,
        said_store(running[0].options),
        lambda machine, why: _leave_out(of_machine[machine.node.id], machine, why, board),
    )


# --- the end


def _finish(
    running: Sequence[Running], options: Options, board: Board, stop: threading.Event
) -> int:
    """Close the records, write the tables of each kind and the one across them."""
    failed = False
    runs = []
    for one in running:
        write_header(one)
        found = read_run(one.recorder.path if stop.is_set() else one.recorder.finish())
        runs.append(found)
        current = current_blocks(found.measurements)
        states = [block.status for case in one.sources for block in current.get(case, ())]
        failed = failed or "failed" in states or bool(one.to_answer or one.unanswered)
    report.write(options.out)
    board.say(fleet_page.summary(runs))
    name = running[0].recorder.header.fleet
    board.say(f"all of it: {options.out / fleet_page.page_name(name.name if name else '')}")
    if stop.is_set():
        left = sum(one.queue.left for one in running)
        board.say(f"interrupted: {left} blocks are left; the same command goes on from here")
        return 130
    return int(failed)
