"""What the documentation names exists: commands, flags, targets, extras, links, and the tables."""

from __future__ import annotations

import configparser
import functools
import importlib.util
import itertools
import json
import re
import shlex
import statistics
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from bench import choices
from bench.choices import Blamed, Choice, Score
from bench.cli import COMMANDS
from bench.text import difference_text
from export.build import Int8
from export.recipes import RECIPES
from export.train_plan import SCRATCH
from export.variants import ALIASES, VARIANTS
from runtimes import REGISTRY

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
TRAININGS = ROOT / "results" / "training"
OURS = ("bench", "runtimes", "export")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
SHELL = ("sh", "bash", "shell", "console")
TABLE = re.compile(
    r"(?P<begin><!-- table: (?P<name>\S+) -->)\n.*?(?P<end><!-- end of table -->)", re.DOTALL
)
MEASURED = (
    "variant",
    "recipe",
    "runtime",
    "file MB",
    "top-1 %",
    "vs fp32 parent",
    "load ms",
    "p50 ms",
    "peak MB (import)",
    "speed-up (95 %)",
    "verdict",
)
LINK = re.compile(r"\]\(([^)\s]+)\)")


def documents() -> list[Path]:
    """Every page that a reader is sent to."""
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("results/**/*.md")]
    return sorted(pages)


def commands(text: str) -> Iterator[list[str]]:
    """The words of each command in shell fences, and in `code` that starts like one."""
    for language, body in FENCE.findall(text):
        if language in SHELL:
            yield from _lines(body, prompt=language == "console")
        for script in _scripts(yaml.safe_load(body)) if language in ("yaml", "yml") else ():
            yield from _lines(script)
    for code in re.findall(r"`([^`\n]+)`", FENCE.sub("", text)):
        if code.split()[0] in ("python", "make", "deploybench", "tox", "pip", "pytest"):
            yield from _lines(code)


def _scripts(workflow: object) -> Iterator[str]:
    """What the steps of a GitHub Actions workflow run, what GitHub fills in left out."""
    if isinstance(workflow, dict):
        for name, value in workflow.items():
            if name == "run" and isinstance(value, str):
                yield re.sub(r"\$\{\{.*?\}\}", "X", value)
            yield from _scripts(value)
    elif isinstance(workflow, list):
        for item in workflow:
            yield from _scripts(item)


def _lines(body: str, prompt: bool = False) -> Iterator[list[str]]:
    """Commands of a script, its continuation lines joined; of a session, only what was typed."""
    for line in body.replace("\\\n", " ").splitlines():
        if not prompt or line.startswith("$ "):
            for part in re.split(r"&&|\|\||;", line.removeprefix("$ ")):
                words = shlex.split(part, comments=True)
                while words and re.fullmatch(r"\w+=.*", words[0]):
                    words.pop(0)
                if words:
                    yield words


def complaint(words: list[str]) -> str | None:
    """What of a command does not exist; ``None`` where all of it does, or it is not ours."""
    program, *rest = words
    program = program.rpartition("/")[2]
    if program.startswith("python") and rest[:1] == ["-m"]:
        return _module(rest[1], rest[2:]) if rest[1].partition(".")[0] in OURS else _known(rest[1:])
    return _known([program, *rest])


def _known(words: list[str]) -> str | None:
    """The tools of the project, called directly or as ``python -m TOOL``."""
    check = {"make": _make, "deploybench": _script, "tox": _tox, "pip": _pip, "pytest": _pytest}
    return check.get(words[0], lambda _: None)(words[1:])


def _module(name: str, arguments: list[str]) -> str | None:
    spec = importlib.util.find_spec(name)
    if spec is not None and spec.submodule_search_locations is not None:
        # Not by find_spec, which would import the package and what it needs.
        folders = map(Path, spec.submodule_search_locations)
        spec = spec if any((folder / "__main__.py").is_file() for folder in folders) else None
    if spec is None:
        return f"there is no module {name} to run"
    flags = {word.partition("=")[0] for word in arguments if re.match(r"--?[a-z]", word)}
    absent = sorted(flags - _flags(name)) if flags else []
    return f"{name} has no {', '.join(absent)}" if absent else None


@functools.cache
def _flags(module: str) -> frozenset[str]:
    """Every flag that ``--help`` names."""
    command = [sys.executable, "-m", module, "--help"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
    return frozenset(re.findall(r"(?<![\w-])--?[a-z][\w-]*", done.stdout))


def _script(words: list[str]) -> str | None:
    if not words or words[0] in ("COMMAND", "--help"):
        return None
    if words[0] not in COMMANDS:
        return f"deploybench has no subcommand {words[0]}"
    return _module(COMMANDS[words[0]][0].removesuffix(".__main__"), words[1:])


def _make(words: list[str]) -> str | None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):(?!=)", makefile, re.MULTILINE))
    absent = [word for word in words if "=" not in word and word not in targets]
    return f"the Makefile has no target {', '.join(absent)}" if absent else None


def _tox(words: list[str]) -> str | None:
    config = configparser.ConfigParser(interpolation=None)
    config.read(ROOT / "tox.ini", encoding="utf-8")
    known = {name.removeprefix("testenv:") for name in config.sections()}
    chosen = words[words.index("-e") + 1].split(",") if "-e" in words else []
    absent = [name for name in chosen if name not in known]
    return f"tox.ini has no environment {', '.join(absent)}" if absent else None


def _pip(words: list[str]) -> str | None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    pattern = r"(?:^|/)(?:\.|deploybench)\[([\w,-]+)\]"
    extras = [e for word in words for found in re.findall(pattern, word) for e in found.split(",")]
    absent = [name for name in extras if name not in project["optional-dependencies"]]
    return f"pyproject.toml has no extra {', '.join(absent)}" if absent else None


def _pytest(words: list[str]) -> str | None:
    absent = [word for word in words if word.startswith("tests") and not (ROOT / word).exists()]
    return f"there is no {', '.join(absent)}" if absent else None


def broken_links(text: str, folder: Path) -> list[str]:
    """Relative links, and anchors in Markdown, that lead nowhere."""
    links = LINK.findall(FENCE.sub("", text))
    return [link for link in links if "://" not in link and not _leads(link, text, folder)]


def _leads(link: str, text: str, folder: Path) -> bool:
    path, _, anchor = link.partition("#")
    target = folder / path
    if link.startswith("mailto:"):
        return True
    if path and not target.exists():
        return False
    if not anchor or (path and target.suffix != ".md"):
        return True
    return anchor in _anchors(target.read_text(encoding="utf-8") if path else text)


def _anchors(text: str) -> set[str]:
    """Headings as the links that code hosts make of them."""
    headings = re.findall(r"^#+ +(.+?) *$", FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def variants_table() -> str:
    """The variants as the README shows them, the second names under the first."""
    lines = ["| name | input | what |", "|---|---|---|"]
    for row in VARIANTS.values():
        height, width = row.input_size
        lines.append(f"| `{row.name}` | {height}×{width} | {row.story} |")
        for alias in ALIASES.values():
            if alias.variant == row.name:
                lines.append(f"| `{alias.name}` | {height}×{width} | {alias.story} |")
    return "\n".join(lines)


def recipes_table() -> str:
    """The recipes as the README shows them."""
    rows = [f"| `{row.name}` | {row.summary} |" for row in RECIPES.values()]
    return "\n".join(["| name | what |", "|---|---|", *rows])


def runtimes_table() -> str:
    """The runtimes as the README shows them."""
    rows = [
        f"| `{name}` | {row.summary} | {f'`{row.extra}`' if row.extra else '–'} |"
        for name, row in REGISTRY.items()
    ]
    return "\n".join(["| name | what | extra |", "|---|---|---|", *rows])


class Shown(NamedTuple):
    """A committed run as its page shows it: the page's file name, and the run's part of it."""

    page: str
    text: str

    @property
    def begun(self) -> str:
        """When it was measured."""
        return self.text.removeprefix("Run of ").partition("+")[0].partition(",")[0]

    def lines(self, family: str) -> list[str]:
        """Its part about a family."""
        part = re.split(rf"^### {family} \(", self.text, maxsplit=1, flags=re.MULTILINE)[1]
        return part.partition("\n### ")[0].splitlines()

    def table(self, family: str, title: str = "| variant ") -> list[list[str]]:
        """The cells of the first table of a family below a line that begins so."""
        lines = self.lines(family)
        start = next(i for i, line in enumerate(lines) if line.startswith(title))
        return first_table(lines[start:])

    @property
    def images(self) -> int:
        """How many labelled images its accuracy is of; 0: it has none."""
        found = re.search(r"^- Accuracy: of (\d+) images", self.text, re.MULTILINE)
        return int(found[1]) if found and "top-1 %" in self.text else 0

    def picture(self, kind: str) -> str:
        """The file of its plot of that kind."""
        found = re.search(rf"\]\(([\w.-]+-{kind}\.svg)\)", self.text)
        assert found, f"the run of {self.begun} has no plot {kind}"
        return found[1]


def runs() -> list[Shown]:
    """The committed runs, each as its page shows it, newest first."""
    pages = [(path.name, path.read_text("utf-8")) for path in (ROOT / "results").glob("*.md")]
    parts = [Shown(name, part) for name, page in pages for part in page.split("\n## ")]
    # What they begin with is when they were measured.
    found = (part for part in parts if part.text.startswith("Run of "))
    return sorted(found, key=lambda part: part.text, reverse=True)


def newest(suite: str) -> Shown:
    """The newest committed run of a suite.

    One of scenarios, which its title names, or of the user's own images is about something else.
    """
    return next(
        part
        for part in runs()
        if part.text.partition("\n")[0].endswith(f"suite {suite}")
        and not re.search(r"^- Command: .*--data ", part.text, re.MULTILINE)
    )


def where(run: Shown) -> str:
    """On what a run was measured: tables of two hosts are no pair."""
    found = re.search(r"^- Host: CPU ([^;]+?) \(.*?; cores (\d+)", run.text, re.MULTILINE)
    assert found, f"this run does not name its host: {run.text[:80]}"
    return f"Measured on {found[2]} cores of: {found[1]}."


def first_table(lines: Iterable[str]) -> list[list[str]]:
    """The cells of the first table in ``lines``, its ruler included."""
    rows = itertools.takewhile(
        lambda line: line.startswith("|"),
        itertools.dropwhile(lambda line: not line.startswith("|"), lines),
    )
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def markdown(cells: Iterable[Sequence[str]]) -> str:
    """The rows of a table."""
    return "\n".join(f"| {' | '.join(row)} |" for row in cells)


def with_images(family: str, found: Iterable[Shown]) -> Iterator[Shown]:
    """Those of ``found`` that are whole and have trained networks of a family and their top-1."""
    return (
        part
        for part in found
        if re.search(rf"^### {family} \(weights: ", part.text, re.MULTILINE)
        and "**Interrupted**" not in part.text
        and part.images
    )


def headline(family: str, found: Iterable[Shown]) -> Shown:
    """The run that the README begins with, of ``found``, newest first.

    One that asked most labelled images; of these one with most kinds of files (variant and
    recipe), which has the quantised ones and the other heads; of these the newest. A later run
    of a few networks in many runtimes, over fewer images, doesn't take its place.
    """
    return max(
        with_images(family, found),
        key=lambda run: (run.images, len({tuple(row[:2]) for row in run.table(family)[2:]})),
    )


def measured_table() -> str:
    """The VGG-19 rows on labelled images, with the columns that answer the question; the plot."""
    run = headline("vgg19", runs())
    cells = run.table("vgg19")
    places = [cells[0].index(title) for title in MEASURED]
    picture = (
        "![The VGG-19s of the table: top-1 accuracy against p50 with their intervals, file size "
        f"as area, and the Pareto front](results/{run.picture('tradeoff')})"
    )
    table = markdown([row[i] for i in places] for row in cells)
    said = f"{where(run)} Top-1 of {run.images} test images; what came out, as [its page] says it:"
    glance = next(
        line.removeprefix("- ")
        for line in run.text.split("### At a glance", 1)[1].splitlines()
        if line.startswith("- **vgg19** ")
    )
    said = said.replace("[its page]", f"[its page](results/{run.page})")
    return "\n\n".join([table, said, f"> {glance}", picture])


def runtimes_in(run: Shown, family: str) -> set[str]:
    """Which runtimes the matrix of a family has, in whatever precision; empty: it has none."""
    if not any(line.startswith("**p50 ms (") for line in run.lines(family)):
        return set()
    return {row[0].partition("+")[0] for row in run.table(family, "**p50 ms (")[2:]}


def matrix_run(family: str, found: Sequence[Shown], other: Shown) -> Shown:
    """Whose matrix of a family the README shows: ``found`` are all runs, newest first.

    Of those with labelled images that have every runtime which ``other``, the newest of the
    suite ``runtimes``, has for that family, the one with most variants, of these the newest;
    where there is none, ``other``.
    """
    wanted = runtimes_in(other, family)
    able = (run for run in with_images(family, found) if runtimes_in(run, family) >= wanted)
    return max(able, key=lambda run: len(variants_in(run, family)), default=other)


def variants_in(run: Shown, family: str) -> list[str]:
    """The variants of a family in the order of its table, but for the harness's own row."""
    return list(dict.fromkeys(row[0] for row in run.table(family)[2:] if row[0] != "–"))


def matrix_table(family: str) -> str:
    """Which runtime is fastest for a family, and how often it is right where that was asked."""
    run = matrix_run(family, runs(), newest("runtimes"))
    titles = ("**p50 ms (", "**top-1 % (")
    lines = [line for line in run.lines(family) if line.startswith(titles)]
    grids = [f"{line}\n\n{markdown(run.table(family, line))}" for line in lines]
    accuracy = (
        f"accuracy of {run.images} images"
        if run.images
        else "seeded weights, of which accuracy would say nothing"
    )
    page = f"[its page](results/{run.page}), with the notes"
    said = f"{where(run)} The run of {run.begun}: {accuracy}; {page}."
    later = [one for one in with_images(family, runs()) if one.begun > run.begun]
    links = (
        f"[{', '.join(variants_in(one, family))}](results/{one.page}) of {one.begun}"
        for one in later
    )
    if later:
        said += f" Later runs, of other variants or fewer runtimes: {'; '.join(links)}."
    return "\n\n".join([*grids, said])


PAPER = "### revisited beside the paper"


def disturbed(run: Shown) -> tuple[int, int]:
    """How many rows are INVALID and how many SUSPECT, of those that the paper's table shows."""
    head, _, *rows = run.table("revisited")
    place = {title: head.index(title) for title in ("recipe", "runtime", "verdict")}
    shown = [
        row[place["verdict"]]
        for row in rows
        if row[place["recipe"]] == "fp32" and row[place["runtime"]] in ("ort", "torch-eager")
    ]
    void, doubtful = (sum(text.startswith(x) for text in shown) for x in ("INVALID", "SUSPECT"))
    return void, doubtful


def paper_run(found: Iterable[Shown]) -> Shown:
    """The run with the paper's table whose rows in it were disturbed least; of equals the newest.

    ``found`` are newest first.
    """
    return min((run for run in found if PAPER in run.text), key=disturbed)


def paper_table() -> str:
    """The eight networks beside the paper's figures, and the plot, both of one run."""
    run = paper_run(runs())
    cells = first_table(run.text.split(PAPER, 1)[1].splitlines())
    shown = [i for i, title in enumerate(cells[0]) if "MiB" not in title and "stored" not in title]
    # The size has two columns, of which the second is only called ours, too.
    size = next(i for i, title in enumerate(cells[0]) if "MiB" in title)
    table = markdown([row[i] for i in shown if i != size + 1] for row in cells)
    void, doubtful = disturbed(run)
    said = (
        f"{where(run)} [The run](results/{run.page}) of {run.begun}, of those with all eight the "
        f"one whose rows here were disturbed least: {void} INVALID, {doubtful} SUSPECT."
    )
    picture = (
        "![Accuracy against the time of an image for the eight networks: the paper's Figure 10, "
        "and our rows in ort and in torch-eager with their intervals]"
        f"(results/{run.picture('paper-cifar10')})"
    )
    return "\n\n".join([table, said, picture])


def recommendation() -> str:
    """How the answer begins that the README's own command gives."""
    found = re.search(r"^python -m (bench\.recommend .*)$", README.read_text("utf-8"), re.MULTILINE)
    assert found, "the README has no command of bench.recommend"
    command = [sys.executable, "-m", *shlex.split(found[1])]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
    parts = done.stdout.split("\n\n")
    table = next(place for place, part in enumerate(parts) if part.startswith("| constraint"))
    return "\n\n".join(f"> {part}" for part in parts[:table]) + f"\n\n{parts[table]}"


def training_table(folder: str) -> str:
    """Trainings, as their logs in a folder tell them."""
    rows = [_training(path) for path in sorted((ROOT / folder).glob("*.jsonl"))]
    head = ("network", "best epoch", "validation accuracy, %", "seconds an epoch, median")
    return markdown([head, ("---",) * len(head), *rows])


def _training(path: Path) -> tuple[str, ...]:
    lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    epochs = [line for line in lines if line["kind"] == "epoch"]
    done = lines[-1]
    seconds = statistics.median(line["seconds"] for line in epochs)
    accuracy = f"{100 * done['val_accuracy']:.2f}"
    return (
        lines[0]["variant"],
        f"{done['best_epoch']} of {len(epochs)}",
        accuracy,
        f"{seconds:.0f}" if seconds >= 10 else f"{seconds:.1f}",
    )


def training_hours() -> str:
    """How long the eight networks take one after the other, by their median epochs."""
    seconds = 0.0
    for path in (ROOT / "export" / "trained").glob("revisited-*.jsonl"):
        lines = map(json.loads, path.read_text("utf-8").splitlines())
        epochs = [line["seconds"] for line in lines if line["kind"] == "epoch"]
        seconds += statistics.median(epochs) * len(epochs)
    return f"One after the other the eight would take {seconds / 3600:.1f} hours by these medians."


def recipes_from_scratch() -> str:
    """How each family is trained that starts from nothing."""
    head = ("family", "epochs, at which share of its size", "batch size", "optimiser", "rate",
            "weight decay", "schedule", "precision")  # fmt: skip
    rows = []
    for family, one in SCRATCH.items():
        small = sum(stage.epochs for stage in one.stages)
        sizes = [f"{stage.epochs} at {stage.scale:g}" for stage in one.stages]
        rows.append(
            (
                family,
                ", ".join([*sizes, f"{one.epochs - small} at 1"]),
                f"{one.batch_size}",
                {"adam": "Adam", "adamw": "AdamW"}[one.optimizer],
                f"{one.lr:g}",
                f"{one.weight_decay:g}",
                one.schedule,
                one.precision,
            )
        )
    return markdown([head, ("---",) * len(head), *rows])


def taught_table() -> str:
    """The student alone and by teacher and share, all of one machine, best last."""
    logs = [
        *(TRAININGS / "taught").glob("*.jsonl"),
        TRAININGS / "student-taught_plants40.train.jsonl",
    ]
    rows = []
    for plan, epochs, best in map(_trained, logs):
        teacher = plan["teacher"]
        by = teacher.split()[1] if teacher else "nobody"
        share = f"{plan['alpha']:g}" if teacher else ""
        rows.append((by, share, f"{best} of {len(epochs)}", f"{100 * max(epochs):.2f}"))
    head = ("taught by", "teacher's share of the loss", "best epoch", "validation accuracy, %")
    rows.sort(key=lambda row: (row[0] != "nobody", row[0], -float(row[1] or 0)))
    return markdown([head, ("---",) * len(head), *rows])


def pruned_table() -> str:
    """Ways to go on training the pruned VGG-19, all of one machine."""
    rows = []
    for plan, epochs, _ in map(_trained, sorted((TRAININGS / "pruned").glob("*.jsonl"))):
        recipe = plan["recipe"]
        what = "the head, on stored features" if plan["head_only"] else "all layers"
        how = f"{'Adam' if recipe['optimizer'] == 'adam' else 'AdamW'} {recipe['lr']:g}"
        rows.append(
            (what, how, f"{recipe['batch_size']}", ", ".join(f"{100 * e:.2f}" for e in epochs))
        )
    head = ("what learns", "by", "batch size", "validation accuracy after each epoch, %")
    return markdown([head, ("---",) * len(head), *rows])


def _trained(path: Path) -> tuple[dict[str, Any], list[float], int]:
    """A log's plan, the validation accuracy of its epochs, and its best epoch."""
    lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    epochs = [line["val_accuracy"] for line in lines if line["kind"] == "epoch"]
    return lines[0]["plan"], epochs, lines[-1]["best_epoch"]


def batches_table() -> str:
    """Validation accuracy by epoch with batches of 16 and of 4, and the leads over the base."""
    folders = {16: ROOT / "export" / "trained", 4: ROOT / "results" / "training" / "batches-of-4"}
    logs = {
        (size, network): _accuracies(folder / f"revisited-{network}_cifar10.train.jsonl", size)
        for size, folder in folders.items()
        for network in ("base", "alpha", "v6")
    }
    head = ["epoch"]
    for size in folders:
        head += [f"base, {size} a batch", "lead of Alpha", "lead of V6"]
    rows = []
    for epoch in range(max(map(len, logs.values()))):
        row = [str(epoch + 1)]
        for size in folders:
            base = logs[size, "base"][epoch]
            leads = (logs[size, network][epoch : epoch + 1] for network in ("alpha", "v6"))
            row += [f"{base:.1f}", *(f"{lead[0] - base:+.1f}" if lead else "" for lead in leads)]
        rows.append(row)
    return markdown([head, ("---",) * len(head), *rows])


def _accuracies(path: Path, batch_size: int) -> list[float]:
    """In %, of the epochs of a log, which must have learnt in such batches."""
    lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    assert lines[0]["plan"]["recipe"]["batch_size"] == batch_size
    return [100 * line["val_accuracy"] for line in lines if line["kind"] == "epoch"]


def search_sentences() -> str:
    """What the committed searches found, a line each."""
    folder = ROOT / "results" / "search"
    return "\n".join(searched(path) for path in sorted(folder.glob("*.json")))


def searched(path: Path) -> str:
    """The loss of plain min-max and of the choice in a choice file, beside which its log stands."""
    choice = choices.read(path)
    assert choice.val is not None, f"{path} is of a search that has not tried anything"
    assert choice.test is not None, f"{path} is of a search that is not finished"
    height, width = VARIANTS[choice.variant].input_size
    layers = len(choice.int8.keep_fp32)
    freed = f", {layers} layer{'' if layers == 1 else 's'} in fp32" if layers else ""
    scheme = str(replace(choice.int8, keep_fp32=()))
    limit = f"{choice.max_drop:g} point{'' if choice.max_drop == 1 else 's'}"
    again = {0: ", looked at once or more (it was not counted)", 1: ""}.get(
        choice.looks, f", looked at {choice.looks} times"
    )
    worst = ", ".join(f"`{one.shown}`" for one in choice.blamed[:3])
    kept = "It keeps" if choice.met else "It misses"
    named = "" if choice.met else f", and names the layers to blame, first of all {worst}"
    return (
        f"- `{choice.variant}` ({choice.weights}) at {height}x{width}, points of top-1 against "
        f"fp32: {_points(_plain_score(path))} on the validation part with plain min-max; "
        f"{_points(choice.val)} there with the best of {choice.tried} candidates "
        f"({scheme}{freed}), and {_points(choice.test)} on the test part{again}. "
        f"{kept} the limit of {limit}{named} ([the search](results/search))."
    )


def _plain_score(path: Path) -> Score:
    """Of the scheme that is tried first, every option being the usual one."""
    lines = map(json.loads, path.with_suffix(".jsonl").read_text("utf-8").splitlines())
    tried = (line["tried"] for line in lines if "tried" in line)
    return Score(**next(found["score"] for found in tried if Int8(**found["int8"]) == Int8()))


def _points(score: Score) -> str:
    return difference_text(score.turned.difference, 100)


TABLES: Mapping[str, Callable[[], str]] = {
    "vgg19": measured_table,
    "matrix-vgg19": functools.partial(matrix_table, "vgg19"),
    "matrix-xception": functools.partial(matrix_table, "xception"),
    "variants": variants_table,
    "recipes": recipes_table,
    "runtimes": runtimes_table,
    "training": functools.partial(training_table, "export/trained"),
    "training-batches": batches_table,
    "training-plants": functools.partial(training_table, "results/training"),
    "training-hours": training_hours,
    "training-pruned": pruned_table,
    "training-recipes": recipes_from_scratch,
    "training-taught": taught_table,
    "paper": paper_table,
    "search": search_sentences,
    "recommend": recommendation,
}
FILLED = (README, ROOT / "docs" / "training.md")
"""The pages with such tables, or lines."""


def filled(text: str) -> str:
    """``text`` with the tables between ``<!-- table: NAME -->`` and ``<!-- end of table -->``."""

    def table(found: re.Match[str]) -> str:
        if found["name"] not in TABLES:
            return found[0]
        return f"{found['begin']}\n{TABLES[found['name']]()}\n{found['end']}"

    return TABLE.sub(table, text)


@pytest.mark.parametrize("page", documents(), ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_exist(page: Path) -> None:
    """Modules, flags, subcommands, targets, environments, extras and paths are real ones."""
    found = {" ".join(words): complaint(words) for words in commands(page.read_text("utf-8"))}
    assert {command: text for command, text in found.items() if text} == {}


@pytest.mark.parametrize("page", documents(), ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link names a file that is there, every anchor a heading."""
    assert broken_links(page.read_text("utf-8"), page.parent) == []


def test_readme_tables_follow_from_the_code() -> None:
    """The pages have all tables, as ``python tests/test_docs.py`` writes them."""
    texts = [page.read_text("utf-8") for page in FILLED]
    assert {found["name"] for text in texts for found in TABLE.finditer(text)} >= set(TABLES)
    assert texts == [filled(text) for text in texts]


def test_a_search_is_told_as_it_ended(tmp_path: Path) -> None:
    """By its choice and its log: plain min-max, the pick, both parts, whether the limit is kept."""
    choice = Choice(
        "revisited-v6",
        "mine",
        Int8("entropy", keep_fp32=("Conv_1",)),
        "data.zip",
        max_drop=2.0,
        met_on_val=True,
        met_on_test=True,
        val=Score(images=200, fp32=180, int8=178, lost=3, gained=1),
        test=Score(images=400, fp32=360, int8=358, lost=5, gained=3),
        tried=9,
        finished=True,
        looks=2,
    )
    choices.write(tmp_path, choice)
    path = choices.path_of(tmp_path, "revisited-v6", "mine")
    score = {"images": 200, "fp32": 180, "int8": 160, "lost": 22, "gained": 2}
    lines = [{"variant": "revisited-v6"}, {"tried": {"int8": {}, "score": score}}]
    path.with_suffix(".jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert searched(path) == (
        "- `revisited-v6` (mine) at 32x32, points of top-1 against fp32: -10 (-15 to -6) on the "
        "validation part with plain min-max; -1.0 (-3.9 to +1.4) there with the best of 9 "
        "candidates (entropy, 16 images, per channel, u8 x s8, 1 layer in fp32), and -0.5 (-2.2 "
        "to +1.1) on the test part, looked at 2 times. It keeps the limit of 2 points "
        "([the search](results/search))."
    )
    blamed = (Blamed("Conv_1", 0.2, "conv2"), Blamed("Conv_0", 0.1))
    missed = replace(choice, met_on_test=False, looks=1, max_drop=1.0, blamed=blamed)
    choices.write(tmp_path, missed)
    assert (
        "the test part. It misses the limit of 1 point, and names the layers to blame, first of "
        "all `conv2`, `Conv_0` ("
    ) in searched(path)
    choices.write(tmp_path, replace(missed, looks=0))
    assert "the test part, looked at once or more (it was not counted). It" in searched(path)


def shown_run(begun: str, *rows: str, images: int = 0, matrix: Sequence[str] = ()) -> Shown:
    """A run of VGG-19s as a page has it: its rows, and the runtimes of its matrix."""
    accuracy = [f"- Accuracy: of {images} images in 40 classes", "top-1 %"] if images else []
    lines = [
        "",
        "**p50 ms (2 threads)**",
        "",
        "| runtime |",
        "|---|",
        *(f"| {x} |" for x in matrix),
    ]
    text = "\n".join(
        [
            f"Run of {begun}+00:00, suite default",
            *accuracy,
            "### vgg19 (weights: plants40)",
            *(lines if matrix else []),
            "",
            "| variant | recipe | runtime |",
            "|---|---|---|",
            *rows,
        ]
    )
    return Shown(f"{begun}.md", text)


def test_a_later_run_of_few_images_does_not_take_the_headline() -> None:
    """Most labelled images first, then most kinds of files, then the newest."""
    whole = shown_run(
        "2026-01-01", "| vgg19 | fp32 | ort |", "| vgg19-gap | fp32 | ort |", images=730
    )
    again = shown_run("2026-01-02", "| vgg19 | fp32 | ort |", "| vgg19 | fp32 | mnn |", images=730)
    few = shown_run("2026-01-03", *(f"| vgg19 | {i} | ort |" for i in range(9)), images=200)
    none = shown_run("2026-01-04", *(f"| vgg19 | {i} | ort |" for i in range(9)))
    assert headline("vgg19", [none, few, again, whole]) is whole
    newer = Shown("newer.md", whole.text.replace("2026-01-01", "2026-01-05"))
    assert headline("vgg19", [newer, none, few, again, whole]) is newer


def test_a_matrix_is_of_labelled_images_where_no_runtime_is_missing() -> None:
    """One that has every runtime of the suite, with most variants; without one, the suite's own."""
    suite = shown_run("2026-01-01", matrix=("ort", "mnn", "mnn+bf16"))
    part = shown_run("2026-01-04", images=730, matrix=("ort",))
    whole = shown_run("2026-01-02", images=200, matrix=("ort", "mnn", "tract"))
    assert matrix_run("vgg19", [part, whole, suite], suite) is whole
    assert matrix_run("vgg19", [part, suite], suite) is suite
    head, cells = ("ort", "mnn", "tract"), ("| vgg19 | fp32 | ort |", "| vgg19-gap | fp32 | ort |")
    more = shown_run("2026-01-01", *cells, images=200, matrix=head)
    newer = shown_run("2026-01-03", "| vgg19 | fp32 | ort |", images=730, matrix=head)
    assert matrix_run("vgg19", [part, newer, whole, more, suite], suite) is more
    assert matrix_run("vgg19", [part, newer, whole, suite], suite) is newer


def test_the_papers_table_is_of_the_run_that_was_disturbed_least() -> None:
    """INVALID weighs more than SUSPECT; only what the table shows counts; then the newest."""

    def run(begun: str, *verdicts: str, other: str = "VALID") -> Shown:
        rows = [f"| a | fp32 | ort | {text} |" for text in verdicts]
        rows.append(f"| a | int8-static | ort | {other} |")
        head = "| variant | recipe | runtime | verdict |\n|---|---|---|---|\n"
        table = f"### revisited (weights: cifar10)\n\n{head}" + "\n".join(rows)
        return Shown("x.md", f"Run of {begun}+00:00\n\n{table}\n\n{PAPER}\n")

    void = run("2026-01-04", "INVALID canary", "VALID")
    two = run("2026-01-03", "SUSPECT canary", "SUSPECT canary")
    one = run("2026-01-02", "SUSPECT canary", "VALID", other="INVALID canary")
    assert paper_run([void, two, one]) is one
    assert disturbed(one) == (0, 1)
    same = run("2026-01-05", "VALID", "SUSPECT canary")
    assert paper_run([same, void, two, one]) is same


@pytest.mark.parametrize("page", documents(), ids=lambda page: str(page.relative_to(ROOT)))
def test_workflows_are_ones(page: Path) -> None:
    """YAML in a page parses, and has what GitHub asks of a workflow: a trigger and steps."""
    bodies = [body for name, body in FENCE.findall(page.read_text("utf-8")) if name == "yaml"]
    for workflow in map(yaml.safe_load, bodies):
        # YAML 1.1 reads the word `on` as true.
        assert {"name", True, "jobs"} <= workflow.keys()
        for job in workflow["jobs"].values():
            assert "runs-on" in job
            assert all(len({"run", "uses"} & step.keys()) == 1 for step in job["steps"])


@pytest.mark.parametrize(
    ("command", "text"),
    [
        ("python -m bench.rum", "there is no module bench.rum to run"),
        (".venv/bin/python -m bench", "there is no module bench to run"),
        ("python -m bench.run --quick --such", "bench.run has no --such"),
        ("deploybench sing", "deploybench has no subcommand sing"),
        ("deploybench run --no-such=1", "bench.run has no --no-such"),
        ("make setup sing OUT=x", "the Makefile has no target sing"),
        ("tox run -e lint,sing", "tox.ini has no environment sing"),
        ("pip install -c constraints.txt '.[ort,sing]'", "pyproject.toml has no extra sing"),
        ("python -m pytest tests/sing", "there is no tests/sing"),
    ],
)
def test_what_does_not_exist_is_named(command: str, text: str) -> None:
    """The check itself notices each kind of mistake."""
    assert [complaint(words) for words in commands(f"```sh\n{command}\n```\n")] == [text]


def test_commands_are_read_as_a_shell_would() -> None:
    """Comments, variables, prompts, continuations and output are told apart."""
    script = "```sh\nA=1 make x # why\nmake a && make \\\n  b\n```\n"
    session = "```console\n$ make c\nmake d is output\n```\n"
    other = "```python\nmake e\n```\nand `make f`, but not `maker`\n"
    steps = "```yaml\nsteps:\n  - run: make g\n  - run: |\n      make h\n      make ${{ i }}\n```\n"
    words = [" ".join(found) for found in commands(script + session + other + steps)]
    assert words[:4] == ["make x", "make a", "make b", "make c"]
    assert words[4:] == ["make g", "make h", "make X", "make f"]


def test_broken_links_are_found(tmp_path: Path) -> None:
    """A file that is missing and a heading that is missing, here and elsewhere."""
    (tmp_path / "b.md").write_text("# Über `uns`, kurz\n", "utf-8")
    text = "# Here\n[a](#here) [b](b.md) [c](b.md#über-uns-kurz) [d](https://x.y/z)\n"
    assert broken_links(text, tmp_path) == []
    bad = "[a](#there) [b](c.md) [c](b.md#them)\n```\n[d](gone)\n```\n"
    assert broken_links(bad, tmp_path) == ["#there", "c.md", "b.md#them"]


def test_tables_are_filled_in_and_others_left_alone() -> None:
    """What stood between the marks gives way; a table of another name stays."""
    other = "<!-- table: other -->\n| a |\n<!-- end of table -->\n"
    old = "<!-- table: recipes -->\n| old |\n<!-- end of table -->\n"
    new = f"<!-- table: recipes -->\n{recipes_table()}\n<!-- end of table -->\n"
    assert filled(other + old) == other + new


if __name__ == "__main__":
    for filled_page in FILLED:
        filled_page.write_text(filled(filled_page.read_text("utf-8")), "utf-8")
