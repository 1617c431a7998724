"""``python -m bench.lost_names FILE --data DIR``: which output of a model is which class.

Who inherits a model without its class names, and has labelled images of what it was trained
on, finds them so: the model answers, and the outputs are assigned to the folders.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench import block, files, given, labelled, launch, text
from bench.blocks import memory_limit
from bench.case import Case
from bench.command_line import parse
from bench.flags import add_model_flags
from bench.matching import Matching, matched
from bench.options import GIVEN_FLAGS, Options, UsageError
from bench.record import Labelled, write_atomically
from bench.run import heed_signals
from export.artifact import Artifact, default_store
from export.counts import count
from export.images import Entry, ImageFolder, ImagesError, Preprocess, spread
from export.printable import complain, printable

_RUNTIME = "ort"
_USUAL_IMAGES = 1000
_EACH = 4
"""Of each folder at least, unless ``--images`` says otherwise: half of them test what the other
half assigned, and three alike out of four are no chance among a thousand classes."""
_LEAST_IMAGES = 2
NOT_THESE, NO_ANSWERS, TOO_FEW = 1, 3, 4
"""Exit codes besides 0, 2 (usage) and 130 (interrupted)."""
_SEED = 4
_UNKNOWN = "unknown_{:04d}"


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 0; 1: the model was not trained on these classes; 2 for a bad argument.

    3: the model gave no answers; 4: too few images to tell; 130: interrupted.
    """
    parser = argparse.ArgumentParser(
        prog="python -m bench.lost_names",
        description="Find which output of an .onnx classifier stands for which class folder.",
        epilog="Exit codes: 0 the names are found; 1 the model was not trained on these classes; "
        "2 usage; 3 it gave no answers; 4 too few images to tell.",
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="an .onnx classifier")
    add_to(parser)
    words = parser.parse_args(argv)
    if not words.data:
        parser.error("--data is missing: class folders of labelled images")
    return find(words.file, words)


def add_to(parser: argparse.ArgumentParser) -> None:
    """The flags of this search, for ``deploybench inspect`` too."""
    group = parser.add_argument_group("which output is which class")
    add = group.add_argument
    images = "class folders of labelled images, to find lost class names by"
    add("--data", default=None, metavar="DIR_OR_ZIP", help=images)
    most = f"at most (default: {_USUAL_IMAGES}, or {_EACH} of each folder where that is more)"
    add("--images", type=count, default=None, metavar="N", help=most)
    weak = "share of right answers that a model of these classes must exceed (default: halfway "
    more = "between all and what naming always the most frequent class gives)"
    add("--least-share", type=float, default=None, metavar="SHARE", help=f"{weak}{more}")
    names = "write the names in the order of the outputs, for --class-names of bench.run"
    add("--write", type=Path, default=None, metavar="FILE.json", help=names)
    add("--store", type=Path, default=None, metavar="DIR", help="built files")
    how = parser.add_argument_group("how the model takes an image, for --data")
    how.argument_default = argparse.SUPPRESS
    add_model_flags(how)


def without_data(words: argparse.Namespace) -> str:
    """Why flags of this search say nothing; empty: there are none, or ``--data`` stands there."""
    usual = {"images": None, "least_share": None, "write": None, "store": None}
    given_ones = [name for name in GIVEN_FLAGS if name in words]
    changed = [name for name, value in usual.items() if getattr(words, name) != value]
    if words.data or not (given_ones or changed):
        return ""
    flag = (given_ones + changed)[0].replace("_", "-")
    return f"--{flag} is about finding class names: it needs --data"


def find(file: Path, words: argparse.Namespace) -> int:
    """The search, its errors as sentences; the exit code is that of ``main``."""
    heed_signals()
    try:
        return _run(file, words)
    except (UsageError, files.BuildError, launch.ChildDied) as exc:
        complain(exc)
        return 2 if isinstance(exc, UsageError) else NO_ANSWERS
    except KeyboardInterrupt:
        return 130


def _run(file: Path, words: argparse.Namespace) -> int:
    options = _options(file, words)
    if words.images is not None and words.images < _LEAST_IMAGES:
        raise UsageError(f"--images {words.images}: give {_LEAST_IMAGES} or more")
    if words.least_share is not None and not 0 <= words.least_share < 1:
        raise UsageError(f"--least-share {words.least_share:g}: give a share below 1")
    folder, entries = _images(Path(words.data), words.images)
    console = Console()
    artifact = _built(options)
    answers = _answers(artifact, folder, entries, options, console)
    labels = [entry.label for entry in entries]
    found = matched(answers, labels, len(artifact.class_names), len(folder.class_names))
    console.print(table(found, folder.class_names))
    console.print(Text(verdict(found, folder, words.least_share)))
    if not known(found, words.least_share):
        return TOO_FEW if too_few(found, words.least_share) else NOT_THESE
    if words.write is not None:
        _write(words.write, _dumped(found, artifact, folder))
        console.print(Text(f"names: {words.write}"))
    return 0


def _write(file: Path, text: str) -> None:
    try:
        write_atomically(file, text.encode())
    except OSError as exc:
        raise UsageError(f"--write {file}: {exc.strerror}") from exc


def _options(file: Path, words: argparse.Namespace) -> Options:
    """As ``bench.run`` reads them, with the one model."""
    flags = [
        word
        for name in GIVEN_FLAGS
        if name in words
        for word in (f"--{name.replace('_', '-')}", str(getattr(words, name)))
    ]
    store = ["--store", str(words.store or default_store()), "--data", str(words.data)]
    fixed = ["--recipes", "fp32", "--runtimes", _RUNTIME, "--accuracy", "none"]
    return given.opened(parse(["--model", str(file), *store, *fixed, *flags]))


def _images(path: Path, most: int | None) -> tuple[ImageFolder, list[Entry]]:
    """Images of all classes, of whatever part: nothing is trained or chosen by them."""
    try:
        folder = ImageFolder.open(path)
        usual = max(_USUAL_IMAGES, _EACH * len(folder.class_names))
        entries = spread(folder.entries(), usual if most is None else most, _SEED)
    except (ImagesError, OSError) as exc:
        raise UsageError(f"--data: {exc}") from exc
    if len(folder.class_names) < 2 or len(entries) < _LEAST_IMAGES:
        raise UsageError(f"--data: {path} has images of one class only: two are the least")
    return folder, entries


def _built(options: Options) -> Artifact:
    key = (options.given[0].name, "fp32", "onnx")
    made = files.build_files([key], options, lambda event: None)
    if key not in made.artifacts:
        raise UsageError(f"{options.model[0]}: {made.reasons[key]}")
    return made.artifacts[key]


def _answers(
    artifact: Artifact,
    folder: ImageFolder,
    entries: Sequence[Entry],
    options: Options,
    console: Console,
) -> tuple[int, ...]:
    """The number of the largest output for each image, from a child of its own."""
    known = Labelled(
        folder.path.name,
        "",
        folder.fingerprint(entries),
        folder.class_names,
        # What is right is not known yet: only the answers count.
        labels=(0,) * len(entries),
    )
    question = labelled.Question(
        labelled.Images(folder, tuple(entries), known),
        Preprocess.from_json(artifact.preprocess),
        tuple(range(len(artifact.class_names))),
        whole=True,
        cache=options.store.absolute() / "pixels",
    )
    labelled.prepare([question], console.print)
    batch = int(artifact.fixes.get("batch", 1))
    case = Case(artifact.variant, "fp32", _RUNTIME, options.threads[0], batch, artifact.weights)
    with tempfile.TemporaryDirectory(prefix="deploybench-names-") as logs:
        setting = launch.Setting(case.threads, memory_limit(options))
        with launch.Child(setting, Path(logs) / "child.log") as child:
            loaded = child.ask(block.load_message(case, artifact), launch.LOAD_LIMIT_S)
            if loaded["status"] != "ok":
                raise launch.ChildDied(loaded["reason"])
            return labelled.ask(child, question, loaded["first_s"]).predicted


def table(found: Matching, names: Sequence[str]) -> Table:
    """A line for each pair, in the order of the outputs."""
    result = Table(box=None, pad_edge=False)
    for head in ("output", "class", "agreement", "answers", ""):
        result.add_column(head, justify="right" if head in ("output", "answers") else "left")
    for pair in sorted(found.pairs, key=lambda pair: pair.output):
        result.add_row(
            str(pair.output),
            Text(printable(names[pair.folder])),
            f"{pair.hits} of {pair.images} images",
            str(pair.answers),
            "" if pair.sure else "unsure",
        )
    return result


def least(found: Matching, said: float | None) -> float:
    """The share of right answers that a model of these classes must exceed.

    Better than chance is not enough: a network that has learnt something else tells colours
    and textures apart as well, and of two classes half are right by chance.
    """
    return (1 + found.chance) / 2 if said is None else said


def known(found: Matching, least_share: float | None) -> bool:
    """Whether the model was trained on these classes, as far as that can be told."""
    return found.better_than_chance and found.surely_right > least(found, least_share)


def too_few(found: Matching, least_share: float | None) -> bool:
    """Whether no answers at all could have shown that the model knows these classes."""
    return not known(found.at_best, least_share)


def verdict(found: Matching, folder: ImageFolder, least_share: float | None) -> str:
    """What the test says, in a sentence or two."""
    if too_few(found, least_share):
        return (
            f"Too few images to tell whether this model knows the classes of {folder.path.name}: "
            "every other image of a folder tests what the ones between assigned. That leaves "
            f"{found.tested} to test by, and even all of them answered rightly would not do "
            f"({found.hits} are). Take more images of each folder (--images, or fuller folders). "
            "No names are written."
        )
    counted = (
        f"assigned by every other image, {found.hits} of the {found.tested} others are answered "
        f"rightly, where naming always the most frequent class would give {found.chance:.1%} "
        f"(exact binomial test: p {text.p_value(found.p_value)})"
    )
    if not known(found, least_share):
        weak = (
            f" That is better than chance, as it is of any network that has learnt something; but "
            f"it is not sure that more than {least(found, least_share):.0%} are right "
            "(--least-share)."
        )
        return (
            f"This model was not trained on the classes of {folder.path.name}, or its images are "
            f"prepared in another way than it was trained with: {counted}."
            f"{weak if found.better_than_chance else ''} No names are written."
        )
    unsure = [pair for pair in found.pairs if not pair.sure]
    more = f"; {len(unsure)} pairs rest on too little: look at them" if unsure else ""
    return f"The model knows these classes: {counted}{more}."


def _dumped(found: Matching, artifact: Artifact, folder: ImageFolder) -> str:
    """The names in output order, as ``--class-names`` reads them, and what each rests on."""
    assigned = {pair.output: folder.class_names[pair.folder] for pair in found.pairs}
    outputs = range(len(artifact.class_names))
    pairs = [
        {**asdict(pair), "class": folder.class_names[pair.folder]}
        for pair in sorted(found.pairs, key=lambda pair: pair.output)
    ]
    names = [assigned.get(number, _UNKNOWN.format(number)) for number in outputs]
    return json.dumps({"names": names, "pairs": pairs}, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.exit(main())
