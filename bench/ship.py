"""``python -m bench.ship CASE OUT``: a folder that runs a measured row elsewhere, without us."""

from __future__ import annotations

import argparse
import contextlib
import functools
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench import bundle, bundle_files, bundle_source, host, launch
from bench.bundle_files import Order
from bench.chosen_row import Chosen, choose, objections
from bench.files import Event
from bench.options import DEFAULT_OUT, UsageError
from bench.record import RecordError
from bench.run import heed_signals
from export.artifact import Store, default_store
from export.memory import limit_own
from export.printable import complain, paragraph

_SELFTEST_LIMIT_S = 900.0
_SHOWN = 3


class ShipError(Exception):
    """A bundle could not be made though everything that was asked for is there."""


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 0; 1 where the bundle could not be made, or failed its own test; 2: usage.

    130 where it was interrupted: of the bundle nothing is left then.
    """
    options = _parser().parse_args(argv)
    heed_signals()
    try:
        ship(options)
    except (UsageError, RecordError) as exc:
        complain(exc)
        return 2
    except (ShipError, launch.ChildDied, OSError) as exc:
        complain(exc)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def ship(options: argparse.Namespace) -> None:
    """Choose the row, refuse what should not be shipped, write, test, and rename into place."""
    _check_out(options.out, options.force)
    chosen = choose(options.records, options.case, options.run)
    versions = chosen.run.header.versions
    against = [
        *objections(chosen),
        *bundle_files.other_versions(chosen.case.runtime, versions),
    ]
    _refuse(against, options.force)
    print(f"{chosen.case}, measured {chosen.run.header.started} (run {chosen.run.header.run})")
    found = bundle_source.find(chosen, options.store, _places(options), _show)
    against += [found.objection] if found.objection else []
    _refuse(against, options.force)
    order = Order(
        chosen, found.artifact, Store(options.store), tuple(against), options.with_images or ""
    )
    with _placed(options.out, options.force) as folder:
        bundle_files.write(folder, order)
        print(f"self-test: {_selftest(folder)}")
    print(_summary(options.out, chosen))


def _places(options: argparse.Namespace) -> list[str]:
    """Flags of bench.run for a file that has to be built again."""
    given = {
        "--data": options.data,
        "--checkpoints": options.checkpoints,
        "--model": options.model,
    }
    return [word for flag, value in given.items() if value for word in (flag, value)]


def _refuse(reasons: Sequence[str], force: bool) -> None:
    if reasons and not force:
        raise UsageError(
            f"{'; '.join(reasons)}. --force ships it all the same, and writes this into its README"
        )


def _check_out(out: Path, force: bool) -> None:
    """Nothing that somebody else wrote is ever removed."""
    if not os.path.lexists(out):
        return
    if not force:
        raise UsageError(f"{out} exists: name another OUT, or replace the bundle with --force")
    if out.is_symlink() or not bundle.is_bundle(out):
        raise UsageError(f"{out} is no bundle of ours, and --force replaces nothing else")
    own = bundle.read_sums(out).keys() | {bundle.SUMS}
    added = [name for name in _everything_in(out) if name not in own]
    if added:
        more = f" and {len(added) - _SHOWN} more" if len(added) > _SHOWN else ""
        raise UsageError(
            f"{out} holds what no line of {bundle.SUMS} has: {', '.join(added[:_SHOWN])}{more}; "
            "--force would delete it: move it away first"
        )


def _everything_in(out: Path) -> Iterator[str]:
    """Names of files and links, with forward slashes; not what Python caches, which it remakes."""
    for path in sorted(out.rglob("*")):
        name = path.relative_to(out)
        if (path.is_symlink() or not path.is_dir()) and "__pycache__" not in name.parts:
            yield name.as_posix()


@contextlib.contextmanager
def _placed(out: Path, force: bool) -> Iterator[Path]:
    """An empty folder that becomes ``out`` as a whole if the block ends well."""
    out = out.absolute()
    out.parent.mkdir(parents=True, exist_ok=True)
    # Beside it: a rename works within one file system only.
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as scratch:
        made, old = Path(scratch, "new"), Path(scratch, "old")
        made.mkdir()
        yield made
        _check_out(out, force)
        try:
            if out.exists():
                out.rename(old)
            made.rename(out)
        except BaseException:
            # Whatever came between: the bundle that was there is nobody's scratch.
            if old.exists() and not os.path.lexists(out):
                old.rename(out)
            raise


def _selftest(folder: Path) -> str:
    """What the bundle says of itself, in a process that can't see this project's folder."""
    command = [sys.executable, "-I", "-B", str(folder / "selftest.py"), "--when-packed"]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            check=False,
            text=True,
            errors="replace",
            cwd=folder,
            timeout=_SELFTEST_LIMIT_S,
            preexec_fn=functools.partial(limit_own, host.child_memory_bytes()),
        )
    except subprocess.TimeoutExpired as exc:
        raise ShipError(f"the bundle's self-test did not end in {exc.timeout:.0f} s") from exc
    said = (done.stdout.strip() or done.stderr.strip() or "nothing").splitlines()[-1]
    if done.returncode != 0:
        raise ShipError(f"the bundle failed its own self-test and was not kept: {said}")
    return said


def _summary(out: Path, chosen: Chosen) -> str:
    size = sum((out / name).stat().st_size for name in bundle.names(out))
    runtime = chosen.case.runtime
    return (
        f"{out}: {size / 1e6:.1f} MB; try it with\n"
        f"  pip install -r {out / 'requirements.txt'} && python {out / 'predict.py'} IMAGE  "
        f"# {runtime}\n"
        f"check it with\n"
        f"  python -m bench.verify {out}"
    )


def _show(event: Event) -> None:
    if event.text:
        print(paragraph(event.text))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m bench.ship",
        description="Pack a measured row: its model, a predict.py that needs only the runtime, "
        "numpy and Pillow, the numbers, where they are from, checksums and a self-test.",
        epilog="Exit codes: 0 packed; 1 it could not be made or failed its self-test; 2 usage, or "
        "a row that should not be shipped.",
    )
    add = parser.add_argument
    add("case", metavar="CASE", help="a row's key: vgg19-gap@plants40/int8-static/ort/t2/b1")
    add("out", type=Path, metavar="OUT", help="the folder to write; it must not exist")
    records = f"a results folder (default: {DEFAULT_OUT})"
    add("--records", type=Path, default=DEFAULT_OUT, metavar="DIR", help=records)
    add("--run", metavar="NAME", help="that run (or pattern), not the newest with this row")
    store = "where built files are (default: the user's cache)"
    add("--store", type=Path, default=default_store(), metavar="DIR", help=store)
    add("--data", metavar="DIR_OR_ZIP", help="the run's images, where its file is built again")
    add("--checkpoints", metavar="DIR", help="the run's weights, where its file is built again")
    model = "the run's own model, where a file made of it is built again"
    add("--model", metavar="FILE", help=model)
    own = "take the self-test's images from the test part of these, not from two photographs"
    add("--with-images", metavar="DIR_OR_ZIP", help=own)
    force = "replace a bundle; ship a row that failed parity or is INVALID, and say so in it"
    add("--force", action="store_true", help=force)
    return parser


if __name__ == "__main__":
    sys.exit(main())
