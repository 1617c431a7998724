"""``python -m bench.spread --ray ADDRESS train|search ...``: one ordinary command a variant.

Training and the search for how to quantise take hours and need no machine to themselves: the
same command is given to a cluster with one variant each, as ordinary tasks, and what each writes
comes back into the folder that the command names. What that folder has by now is sent along, so
that a command that was interrupted goes on.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench import errand, on_host, parcel
from bench.errand import Done, Errand
from bench.on_host import Described, Sent
from bench.options import ClusterLost, UsageError, check_names, matching
from bench.parcel import Parcel, ParcelError
from bench.record import RecordError, write_atomically
from export.printable import complain
from export.variants import VARIANTS

if TYPE_CHECKING:  # nobody imports Ray without being asked to
    from bench.cluster import Cluster, Reply

_TRIES = 3
"""How often a variant is begun again because the machine that had it is gone."""


@dataclass(frozen=True)
class Command:
    """A module that does one thing for each variant; which of its flags name what."""

    module: str
    variants: tuple[str, ...]
    paths: tuple[str, ...]
    out: str = "--out"
    usual_out: str = ""


COMMANDS: Mapping[str, Command] = {
    "train": Command("export.train", ("--variants",), ("--data", "--from", "--teacher")),
    "search": Command(
        "bench.search",
        ("-m", "--variants"),
        ("--data", "--weights", "--checkpoints"),
        usual_out="results/search",
    ),
}


@dataclass(frozen=True)
class Job:
    """One variant of a command; ``words`` without flags that name paths."""

    variant: str
    module: str
    words: tuple[str, ...]


def main(argv: Sequence[str] | None = None) -> int:
    """The worst exit code of the commands; 2 for a bad argument, 130 if interrupted."""
    given = _parser().parse_args(argv)
    try:
        if importlib.util.find_spec("ray") is None:
            raise UsageError("this needs Ray: pip install 'deploybench[ray]'")
        return _run(given)
    except (UsageError, RecordError, ParcelError, ClusterLost) as exc:
        complain(exc)
        return 1 if isinstance(exc, ClusterLost) else 2
    except KeyboardInterrupt:
        print("interrupted; what came back is kept: the same command goes on", file=sys.stderr)
        return 130


def _run(given: argparse.Namespace) -> int:
    command = COMMANDS[given.command]
    words = _Words(given.words)
    variants = _variants(command, words)
    out = Path(words.taken(command.out) or command.usual_out)
    if not out.name:
        raise UsageError(f"{command.out} is missing: the folder that everything comes back to")
    places = {flag: place for flag in command.paths if (place := words.taken(flag))}
    from bench import fleet
    from bench.cluster import connected

    with connected(given.ray) as cluster:
        fleet.found(cluster, fleet.usual_options(given.ray))
        nodes = cluster.nodes()
        cpus = _cpus(given.cpus, [node.cpus for node in nodes])
        sent = {flag: _sent(Path(place), cluster) for flag, place in places.items()}
        jobs = [
            Job(name, command.module, (command.variants[-1], name, *words.left))
            for name in variants
        ]
        what = f"{_several(len(jobs), 'variant')} on {_several(len(nodes), 'node')}"
        print(f"{what}, {_several(cpus, 'CPU')} each", flush=True)
        return _Spread(cluster, on_host.describe(""), sent, out, cpus).all(jobs)


def _several(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _cpus(asked: int, there: Sequence[int]) -> int:
    """Of a task. Raises :class:`UsageError` for more than any node has: Ray would wait for one."""
    if not 0 <= asked <= max(there):
        raise UsageError(
            f"--cpus {asked}: the largest node has {max(there)}; name 1 to {max(there)}, or leave "
            "it out for as many as the smallest has"
        )
    return asked or min(there)


class _Words:
    """A command's words, from which flags can be taken with their values."""

    def __init__(self, words: Sequence[str]) -> None:
        self.left = [word for word in words if word != "--"]

    def taken(self, *flags: str) -> str:
        """The last value of any of these flags, which are no longer there; empty: it is not."""
        value, kept = "", []
        words = iter(self.left)
        for word in words:
            flag, equals, own = word.partition("=")
            if flag not in flags:
                kept.append(word)
            elif equals:
                value = own
            else:
                value = next(words, "")
        self.left = kept
        return value


def _variants(command: Command, words: _Words) -> tuple[str, ...]:
    flag = command.variants[-1]
    patterns = [part.strip() for part in words.taken(*command.variants).split(",") if part.strip()]
    if not patterns:
        raise UsageError(f"{flag} is missing: each variant is a task")
    check_names(flag, patterns, VARIANTS)
    return matching(patterns, VARIANTS)


def _sent(place: Path, cluster: Cluster) -> Sent | str:
    """What a flag names, if it is a file or a folder; its own word otherwise."""
    from bench.fleet_build import packed

    return packed(place.absolute(), cluster) if place.exists() else str(place)


class _Spread:
    """Hands jobs out, and writes down what comes back."""

    def __init__(
        self,
        cluster: Cluster,
        driver: Described,
        sent: Mapping[str, Sent | str],
        out: Path,
        cpus: int,
    ) -> None:
        self._cluster = cluster
        self._driver = driver
        self._sent = sent
        self._out = out
        self._cpus = cpus

    def all(self, jobs: Sequence[Job]) -> int:
        """Every job, at once as far as the cluster has CPUs; returns the worst exit code.

        What one wrote is kept as soon as it is there, in whichever order they end.
        """
        from bench.cluster import HostLost

        codes = [0]
        lost: Counter[Job] = Counter()
        waiting = {self._ask(job): job for job in jobs}
        while waiting:
            reply = self._cluster.first(waiting)
            job = waiting.pop(reply)
            try:
                codes.append(self._ended(job, reply))
            except HostLost as exc:
                lost[job] += 1
                if lost[job] == _TRIES:
                    complain(f"{job.variant}: every machine that had it was lost, the last: {exc}")
                    codes.append(1)
                else:
                    print(f"{job.variant}: {exc}; it is begun again", flush=True)
                    waiting[self._ask(job)] = job
        return max(codes)

    def _ended(self, job: Job, reply: Reply[tuple[str, Done]]) -> int:
        """Keep and show what a command has made; its exit code. Raises ``HostLost``."""
        node_id, done = reply.get()
        self._keep(done)
        where = f"exit code {done.code}, by {node_id[:8]}"
        print(f"== {job.variant} ({where})\n{done.said}", flush=True)
        return done.code

    def _ask(self, job: Job) -> Reply[tuple[str, Done]]:
        from bench.cluster import fetch

        asked = Errand(job.module, job.words, self._sent, self._known(job.variant))
        return self._cluster.anywhere(self._cpus, errand.run, asked, self._driver, fetch)

    def _known(self, variant: str) -> Sent | None:
        """What an earlier start has left of this variant."""
        from bench.fleet_build import of_parts

        files = [path for path in sorted(self._out.glob(f"{variant}[_.@]*")) if path.is_file()]
        if not files:
            return None
        parts = tuple(part for path in files for part in parcel.packed(path).parts)
        return of_parts(self._out.absolute(), Parcel(parts), self._cluster)

    def _keep(self, done: Done) -> None:
        """Write what came back into the folder. Raises ``RecordError``, ``ParcelError``."""
        self._out.mkdir(parents=True, exist_ok=True)
        for part, array in zip(done.written.parts, done.data, strict=True):
            data = array.tobytes()
            parcel.check(part, data)
            write_atomically(self._out / part.name, data)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench.spread",
        description="Give a command that takes variants to a Ray cluster, a variant a task: "
        "train (python -m export.train) or search (python -m bench.search), with their own flags.",
        epilog="Their own --variants, --data and --out must be given; files of --from, --teacher, "
        "--weights and --checkpoints name are sent along.",
    )
    add = parser.add_argument
    add("--ray", required=True, metavar="ADDRESS", help="auto, local, HOST:PORT, ray://HOST:PORT")
    add("--cpus", type=int, default=0, metavar="N", help="of a task (default: the smallest node's)")
    add("command", choices=list(COMMANDS))
    add("words", nargs=argparse.REMAINDER, metavar="...", help="the command's own flags")
    return parser


if __name__ == "__main__":
    sys.exit(main())
