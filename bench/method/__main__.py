"""``python -m bench.method NAME``: run an experiment; ``report``: write or check the page."""

from __future__ import annotations

import argparse
import datetime
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from bench import host
from bench.files import BuildError
from bench.method import EXPERIMENTS, journal, page
from bench.method.experiment import Experiment, ExperimentError, Lab, Size, load, open_lab
from bench.method.figures import write_svg
from bench.options import DEFAULT_OUT, UsageError, check_names
from bench.record import RecordError, write_atomically
from bench.report import page_difference
from bench.run import heed_signals
from bench.text import minutes
from export.artifact import default_store
from export.printable import complain
from export.recipes import RECIPES
from export.variants import VARIANTS
from runtimes import REGISTRY

REPORT = "report"
_ROOT = Path(__file__).parents[2]
_CHANGEABLE = tuple(row.name for row in fields(Size))


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 0; 1 if it came out wrong or failed; 2 for a bad argument; 130 if interrupted."""
    given = _parser().parse_args(argv)
    heed_signals()
    try:
        if given.name == REPORT:
            return _check(given.out) if given.check else _write(given.out)
        return _run(given)
    except (UsageError, ExperimentError, RecordError, BuildError) as exc:
        complain(exc)
        return 2 if isinstance(exc, UsageError) else 1
    except KeyboardInterrupt:
        print("interrupted; what was measured is kept: the same command goes on", file=sys.stderr)
        return 130


def _run(given: argparse.Namespace) -> int:
    """Measure what is missing, keep it, show what came out."""
    experiment = load(given.name)
    size = _size(experiment.defaults, given)
    lab = open_lab(experiment.cases(size), size, given.store, _say)
    lines = _measured(given, experiment, lab)
    outcome = experiment.judge(size, lines)
    print(f"{page.verdict(outcome)}{outcome.answer}\n\n{outcome.table}".strip())
    _write(given.out)
    return int(outcome.passed is False)


def _measured(given: argparse.Namespace, experiment: Experiment[Any], lab: Lab) -> list[Any]:
    """All lines of the experiment, those of an earlier start among them."""
    name, out = given.name, given.out
    begun = journal.resume(out, _header(given, lab.size), experiment.line)
    lines, units = list(begun.lines), experiment.units(lab.size)
    expected_s = experiment.expected_s(lab.size) * (1 - len(lines) / units)
    _say(f"{name}: {units - len(lines)} of {units} units to measure, about {minutes(expected_s)}")
    started, first = time.monotonic(), len(lines)
    for index in range(first, units):
        lines.append(experiment.measure(index, lab))
        journal.append(out, name, experiment.line, lines[-1])
        each_s = (time.monotonic() - started) / (index + 1 - first)
        _say(f"{name} {index + 1}/{units}, about {minutes(each_s * (units - index - 1))} left")
    journal.finish(out, name)
    return lines


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _header(given: argparse.Namespace, size: Size) -> journal.Header:
    facts = host.describe()
    library = REGISTRY[size.runtime].distribution
    return journal.Header(
        schema=journal.SCHEMA,
        experiment=given.name,
        started=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        command=_command(given),
        commit=host.commit(_ROOT),
        host=facts,
        host_id=host.host_id(facts),
        versions=host.versions(["numpy", *([library] if library else [])]),
        size=size,
    )


def _command(given: argparse.Namespace) -> str:
    """The command without ``--store`` and ``--out``: places mean nothing elsewhere."""
    words = ["python", "-m", "bench.method", given.name]
    for name in _CHANGEABLE:
        if name in given:
            value = getattr(given, name)
            words += [f"--{name}", ",".join(value) if isinstance(value, tuple) else str(value)]
    return shlex.join(words)


def _size(defaults: Size, given: argparse.Namespace) -> Size:
    """The experiment's own size, but for what the command line says. Raises ``UsageError``."""
    changes = {name: getattr(given, name) for name in _CHANGEABLE if name in given}
    size = replace(defaults, **changes)
    for name in ("pairs", "blocks", "seconds", "threads"):
        if not getattr(size, name) > 0:
            raise UsageError(f"--{name} {getattr(size, name):g} is not above 0")
    check_names("--variants", size.variants, VARIANTS)
    check_names("--recipe", [size.recipe], RECIPES)
    check_names("--runtime", [size.runtime], REGISTRY)
    return size


def _write(out: Path) -> int:
    """Write the page, and the plots of what is finished."""
    text = page.render(out)
    out.mkdir(parents=True, exist_ok=True)
    for name in EXPERIMENTS:
        path = out / f"{name}.jsonl.gz"
        if path.exists():
            experiment = load(name)
            found = journal.read(path, experiment.line)
            write_svg(out / f"{name}.svg", experiment, found.header.size, found.lines)
    write_atomically(out / page.PAGE, text.encode())
    print(out / page.PAGE)
    return 0


def _check(out: Path) -> int:
    """Whether the page follows from the data; how it differs if not."""
    found = page_difference(out / page.PAGE, page.render(out))
    if found:
        print(f"{out / page.PAGE} does not follow from the data beside it; make it again with")
        print(f"  python -m bench.method report --out {out}\n{found}")
        return 1
    print(f"{out / page.PAGE} follows from the data beside it")
    return 0


def _words(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m bench.method",
        description="Experiments on the method itself; run them on a quiet machine.",
        argument_default=argparse.SUPPRESS,
    )
    add = parser.add_argument
    add("name", choices=[*EXPERIMENTS, REPORT], help="an experiment, or the page of all")
    out = DEFAULT_OUT / "method"
    add("--out", type=Path, default=out, metavar="DIR", help=f"raw data and page (default: {out})")
    add("--store", type=Path, default=default_store(), metavar="DIR", help="built files")
    add("--check", action="store_true", default=False, help="report: exit 1 if the page is stale")
    size = parser.add_argument_group("how much (each experiment has its own defaults)")
    add = size.add_argument
    add("--pairs", type=int, metavar="N", help="comparisons, or rounds")
    add("--blocks", type=int, metavar="N", help="blocks of one side of a comparison, or of a row")
    add("--seconds", type=float, metavar="S", help="time of one timed loop")
    add("--variants", type=_words, metavar="NAMES", help="for instance revisited-v6,xception")
    add("--recipe", metavar="NAME")
    add("--runtime", metavar="NAME")
    add("--threads", type=int, metavar="N", help="default: all cores")
    add("--seed", type=int, help="of the order in which blocks are measured")
    return parser


if __name__ == "__main__":
    sys.exit(main())
