"""Another version of this code, measured in turns with ours: its checkout, its plan, its files.

Everything of it comes from its own checkout: what it plans (``python -m
bench.against`` there), its files (its ``export.run``) and its children (its
``bench.worker``). Interpreter and libraries are the same for both.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import ConfigDict, TypeAdapter, ValidationError

from bench import files, host, launch, outcomes
from bench.case import BASE, NULL, ONCE, Case, crossover, file_format, plan, unsupported
from bench.files import Event, Source
from bench.options import Options, UsageError
from bench.record import Against, Measurement, Run, RunHeader
from bench.resultset import row_name
from bench.worker import PROTOCOL

LOOKS = 4
"""Rows are judged at most so often: after the usual rounds, then whenever they have doubled."""
_PACKAGES = ("bench", "runtimes", "export")
_PLANNING = (
    "suite",
    "variants",
    "recipes",
    "runtimes",
    "precisions",
    "threads",
    "batch_sizes",
    "scenarios",
    "weights",
    "checkpoints",
)
"""The options on which a plan depends."""
_PLAN_LIMIT_S = 120.0


@dataclass(frozen=True)
class Tree:
    """A checkout of this project: its name in reports, its folder, its commit."""

    name: str
    root: Path
    commit: str


@dataclass(frozen=True)
class Planned:
    """A case as the other version plans it: the format of its file, or why it can't be."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    case: Case
    format: str
    unsupported: str | None


_PLAN = TypeAdapter(tuple[Planned, ...])
_OPTIONS = TypeAdapter(Options)


# --- the checkout


@contextlib.contextmanager
def opened(name: str, ours: Path) -> Iterator[Tree | None]:
    """The checkout that ``--against`` names: a folder, or a revision of ``ours`` unpacked aside.

    ``None`` for an empty name. Raises :class:`UsageError` for what is neither, and
    for a version that can't be measured together with this one.
    """
    if not name:
        yield None
    elif _is_checkout(Path(name)):
        root = Path(name).resolve()
        yield _understood(Tree(root.name, root, host.commit(root)))
    else:
        with tempfile.TemporaryDirectory(prefix="deploybench-base-") as folder:
            yield _understood(Tree(name, Path(folder), _unpack(name, ours, Path(folder))))


def _is_checkout(folder: Path) -> bool:
    return all((folder / package / "__init__.py").is_file() for package in _PACKAGES)


def _unpack(revision: str, ours: Path, folder: Path) -> str:
    """Put the packages of a revision into ``folder``; returns its short hash."""
    commit = "" if revision.startswith("-") else _commit(revision, ours)
    if not commit:
        raise UsageError(
            f"--against {revision}: neither a folder with {', '.join(_PACKAGES)} in it, nor a "
            "revision that git knows here (git fetch may be missing)"
        )
    packed = folder / "base.tar"
    host.git(ours, "archive", "--format=tar", f"--output={packed}", commit, *_PACKAGES)
    if not packed.exists() or not packed.stat().st_size:
        raise UsageError(f"--against {revision}: it has no {', '.join(_PACKAGES)}")
    with tarfile.open(packed) as archive:
        archive.extractall(folder, filter="data")
    packed.unlink()
    return commit


def _commit(revision: str, ours: Path) -> str:
    return host.git(ours, "rev-parse", "--verify", "--quiet", "--short", f"{revision}^{{commit}}")


def _understood(tree: Tree) -> Tree:
    """The tree itself, if its worker and ours speak alike."""
    text = (tree.root / "bench" / "worker.py").read_text(encoding="utf-8")
    found = re.search(r"^PROTOCOL = (\d+)$", text, re.MULTILINE)
    theirs = int(found[1]) if found else 0
    if theirs != PROTOCOL:
        raise UsageError(
            f"--against {tree.name}: its worker speaks protocol {theirs or '0 (none)'}, ours "
            f"{PROTOCOL}: versions so far apart can't share a run; measure each by itself and "
            "compare the two with python -m bench.compare"
        )
    return tree


# --- the plan


def main() -> int:
    """Tell another version what this one plans: options on standard input, cases on the output."""
    try:
        cases = plan(_OPTIONS.validate_json(sys.stdin.buffer.read()))
    except UsageError:
        cases = ()  # nothing is left of what was asked for
    planned = tuple(Planned(case, file_format(case) or "", unsupported(case)) for case in cases)
    sys.stdout.buffer.write(_PLAN.dump_json(planned))
    return 0


def planned(tree: Tree, options: Options) -> tuple[Planned, ...]:
    """What the other version plans for the same options, of what is compared.

    Raises :class:`UsageError` if it plans nothing or can't say.
    """
    asked = {name: getattr(options, name) for name in _PLANNING}
    try:
        done = subprocess.run(
            [sys.executable, "-m", "bench.against"],
            input=TypeAdapter(dict[str, object]).dump_json(asked),
            capture_output=True,
            env=os.environ | launch.code_of(tree.root),
            timeout=_PLAN_LIMIT_S,
            check=True,
        )
        found = _PLAN.validate_json(done.stdout)
    except subprocess.CalledProcessError as exc:
        last = exc.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise UsageError(f"--against {tree.name}: it can't plan these rows: {last}") from exc
    except (subprocess.TimeoutExpired, ValueError) as exc:
        first = str(exc).partition("\n")[0]
        raise UsageError(f"--against {tree.name}: no plan came from it: {first}") from exc
    # As in a result set: neither the harness's own rows nor what is measured only once.
    usual = (row for row in found if row.case.runtime != NULL)
    rows = tuple(row for row in usual if row.case.scenario not in ONCE)
    if not rows:
        raise UsageError(f"--against {tree.name}: it plans none of these rows")
    return rows


def base_case(case: Case) -> Case:
    """The copy that stands for the other version's measurement."""
    return replace(case, copy=BASE)


def gone(rows: Sequence[Planned], own: Sequence[Case]) -> dict[Case, Source]:
    """The rows that this version no longer plans: nothing to measure, but not to be missed."""
    lost = [row.case for row in rows if row.case not in own]
    ours = Source(status="unsupported", reason="BASE has this row, HEAD has not")
    theirs = Source(reason="not measured, as HEAD has no such row")
    return {**dict.fromkeys(lost, ours), **dict.fromkeys(map(base_case, lost), theirs)}


def sources(
    tree: Tree,
    rows: Sequence[Planned],
    cases: Sequence[Case],
    options: Options,
    show: Callable[[Event], None],
) -> dict[Case, Source]:
    """The base cases of those rows that are in ``cases``, with files that the other version made.

    Raises :class:`UsageError` for what its ``export.run`` refuses.
    """
    shared = {
        row: (row.case.variant, row.case.recipe, row.format) for row in rows if row.case in cases
    }
    keys = [key for row, key in shared.items() if row.unsupported is None]
    try:
        made = files.build_files(keys, options, show, tree.root)
    except (UsageError, ValidationError) as exc:
        first = str(exc).partition("\n")[0]
        raise UsageError(f"--against {tree.name}: its files can't be had: {first}") from exc
    return {
        base_case(row.case): files.source(key, row.unsupported, made, tree.root)
        for row, key in shared.items()
    }


def check_inputs(tree: Tree, found: Mapping[Case, Source]) -> None:
    """Make sure that both versions' files take an image alike, as far as their files say.

    Raises :class:`UsageError` that names the first that don't: their times are no pair.
    """
    for case, head in found.items():
        base = found.get(base_case(case))
        if head.artifact is None or base is None or base.artifact is None:
            continue
        ours, theirs = head.artifact.preprocess, base.artifact.preprocess
        if ours and theirs and ours != theirs:
            raise UsageError(
                f"--against {tree.name}: it makes other inputs for {case} ({theirs}) than this "
                f"version ({ours}): leave such rows out with --variants, or measure each version "
                "by itself"
            )


# --- the rounds


def header_entry(tree: Tree, options: Options) -> Against:
    """What the records say of the other version."""
    return Against(tree.name, tree.commit, LOOKS if options.budget else 1)


def further_rounds(
    header: RunHeader, measurements: Sequence[Measurement], options: Options
) -> Iterator[list[tuple[int, Case]]]:
    """Rounds beyond the usual ones, for rows that are still undecided; ``measurements`` grows.

    Rows are judged only when there are twice as many rounds as the last time:
    each look has its share of the error (``LOOKS``). It ends where the next
    round would exceed the budget, which is counted from the records: the same
    command then measures nothing more.
    """
    for look in range(LOOKS - 1 if options.budget else 0):
        rounds = options.blocks << look
        names = _undecided(header, measurements, rounds, options.margin)
        both = [case for case in header.cases if case.copy in ("", BASE)]
        cases = [case for case in both if row_name(case) in names]
        if not cases:
            return
        # One crossover over all of them, so that every second goes back the way of the one before.
        order = crossover(cases, rounds, options.seed + rounds)
        for number, blocks in itertools.groupby(order, key=lambda block: block[0]):
            if _spent_s(measurements, options.blocks, cases) > options.budget:
                return
            yield [(rounds + number, case) for _, case in blocks]


def _undecided(
    header: RunHeader, measurements: Sequence[Measurement], rounds: int, margin: float
) -> frozenset[str]:
    """The rows that the first ``rounds`` rounds have not decided."""
    seen = tuple(block for block in measurements if block.round < rounds)
    found = outcomes.compare_run(Run(header, seen), margin)
    return frozenset(row.name for row in found.rows if row.open)


def _spent_s(measurements: Sequence[Measurement], usual: int, cases: Sequence[Case]) -> float:
    """What the further rounds have taken, and the next one will as long as its last blocks did."""
    spent = sum(block.block_s or 0.0 for block in measurements if block.round >= usual)
    latest: Mapping[Case, float] = {block.case: block.block_s or 0.0 for block in measurements}
    return spent + sum(latest.get(case, 0.0) for case in cases)


if __name__ == "__main__":
    sys.exit(main())
