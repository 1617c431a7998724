"""Another version of the code, in turns with ours: its checkout, its plan, its rounds."""

from __future__ import annotations

import math
import os
import random
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from bench import against, files, launch
from bench.against import Tree
from bench.case import BASE, Case, plan
from bench.command_line import parse
from bench.files import Event, Source, Wanted
from bench.options import UsageError
from bench.record import Against, Measurement, find_runs, read_run
from bench.worker import PROTOCOL
from tests.bench.made_up import fake_artifact

ROOT = Path(__file__).parents[2]
PACKAGES = ("bench", "runtimes", "export")
SMALL = ["-m", "revisited-v6,revisited-alpha", "--recipes", "fp32", "--runtimes", "ort", "-t", "1"]
ORT = Case("revisited-v6", "fp32", "ort", 1)
ALPHA = Case("revisited-alpha", "fp32", "ort", 1)


def copy_of_this_project(folder: Path) -> Path:
    """Its three packages."""
    for package in PACKAGES:
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / package, folder / package, ignore=ignore)
    return folder


def mutate(root: Path, file: str, old: str, new: str) -> None:
    """Change one place in a copy, which must be there."""
    text = (root / file).read_text()
    assert text.count(old) == 1, f"{file} has {old!r} {text.count(old)} times"
    (root / file).write_text(text.replace(old, new))


def checkout(folder: Path, protocol: int = PROTOCOL) -> Path:
    """A git repository with as much of this project as is looked at."""
    for package in PACKAGES:
        (folder / package).mkdir(parents=True)
        (folder / package / "__init__.py").touch()
    (folder / "bench" / "worker.py").write_text(f"import os\nPROTOCOL = {protocol}\n")
    clean = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    who = ["-c", "user.name=n", "-c", "user.email=e", "-c", "commit.gpgsign=false"]
    for words in (["init", "-q"], ["add", "."], [*who, "commit", "-qm", "First"]):
        subprocess.run(["git", *words], cwd=folder, env=clean, check=True)
    return folder


# --- the checkout


def test_without_a_name_there_is_none(tmp_path: Path) -> None:
    """An ordinary run."""
    with against.opened("", tmp_path) as tree:
        assert tree is None


def test_a_folder_is_taken_as_it_is(tmp_path: Path) -> None:
    """With its own commit, and marked where it differs from that."""
    other = checkout(tmp_path / "other")
    (other / "bench" / "__init__.py").write_text("# changed\n")
    with against.opened(str(other), tmp_path) as tree:
        assert tree is not None
        assert (tree.name, tree.root) == ("other", other)
        assert tree.commit.endswith("+dirty")


def test_a_revision_is_unpacked_aside_and_removed(tmp_path: Path) -> None:
    """What is not committed there has no part in it."""
    ours = checkout(tmp_path / "ours")
    (ours / "bench" / "__init__.py").write_text("# changed\n")
    with against.opened("HEAD", ours) as tree:
        assert tree is not None
        assert (tree.root / "bench" / "__init__.py").read_text() == ""
        assert sorted(path.name for path in tree.root.iterdir()) == sorted(PACKAGES)
        assert len(tree.commit) >= 7
    assert not tree.root.exists()


@pytest.mark.parametrize("name", ["no-such-branch", "--output=x", "HEAD:bench"])
def test_what_is_neither_is_told(name: str, tmp_path: Path) -> None:
    """A word that git would take as an option included."""
    ours = checkout(tmp_path / "ours")
    told = f"--against {name}: neither a folder with bench, runtimes, export in it, nor a revision"
    with pytest.raises(UsageError, match=told), against.opened(name, ours):
        pass


@pytest.mark.parametrize("old", [True, False])
def test_a_worker_of_another_protocol_is_refused_in_a_sentence(old: bool, tmp_path: Path) -> None:
    """Also one from before there was a number."""
    other = checkout(tmp_path / "other", PROTOCOL + 1)
    if old:
        (other / "bench" / "worker.py").write_text("import os\n")
    theirs = "0 (none)" if old else str(PROTOCOL + 1)
    with pytest.raises(UsageError) as caught, against.opened(str(other), tmp_path):
        pass
    assert str(caught.value) == (
        f"--against other: its worker speaks protocol {theirs}, ours {PROTOCOL}: versions so far "
        "apart can't share a run; measure each by itself and compare the two with "
        "python -m bench.compare"
    )


# --- the plan


def test_the_other_version_plans_by_its_own_tables(tmp_path: Path) -> None:
    """A runtime that it lacks is not planned, a recipe it can't make is told in its words."""
    root = copy_of_this_project(tmp_path)
    mutate(root, "runtimes/__init__.py", '"ort": Entry(', '"ort-then": Entry(')
    words = ["--runtimes", "ort*,torch-eager", "-m", "revisited-v6", "-t", "1"]
    options = parse(["--recipes", "fp32", *words])
    rows = against.planned(Tree("base", root, "abc"), options)
    assert [row.case.runtime for row in rows] == ["torch-eager", "ort-then"]
    lost = against.gone(rows, [row.case for row in rows[:1]])
    ghost = rows[1].case
    assert {case: source.status for case, source in lost.items()} == {
        ghost: "unsupported",
        replace(ghost, copy=BASE): "failed",
    }


def test_scenarios_are_planned_for_both_versions(tmp_path: Path) -> None:
    """Those that are repeated: each of them has its row in the base, too."""
    words = ["-m", "revisited-v6", "--recipes", "fp32", "--runtimes", "ort", "-t", "1"]
    options = parse([*words, "--against", "x", "--scenarios", "multi,offline,workers"])
    theirs = against.planned(Tree("base", copy_of_this_project(tmp_path), "abc"), options)
    assert {row.case for row in theirs} == set(plan(options))
    assert [row.case.scenario for row in theirs] == ["single", "multi", "offline", "workers"]


def test_a_version_that_plans_nothing_is_refused(tmp_path: Path) -> None:
    """There would be nothing to compare; so would there be where it crashes."""
    root = copy_of_this_project(tmp_path)
    mutate(root, "runtimes/__init__.py", '"ort": Entry(', '"ort-then": Entry(')
    with pytest.raises(UsageError, match="--against base: it plans none of these rows"):
        against.planned(Tree("base", root, "abc"), parse(SMALL))
    (root / "bench" / "against.py").write_text("raise OSError('no such thing')\n")
    with pytest.raises(UsageError, match="can't plan these rows: OSError: no such thing"):
        against.planned(Tree("base", root, "abc"), parse(SMALL))
    (root / "bench" / "against.py").write_text("print('[{}]')\n")
    with pytest.raises(UsageError, match="no plan came from it: 3 validation errors"):
        against.planned(Tree("base", root, "abc"), parse(SMALL))


def test_base_files_are_made_by_the_base_tree(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Its export.run is asked, for the rows that both have, in the formats that it plans."""
    asked: list[object] = []

    def build_files(keys, options, show, root):
        asked.extend([list(keys), root])
        return files.Files({}, dict.fromkeys(keys, "it crashed"))

    monkeypatch.setattr(files, "build_files", build_files)
    planned = [
        against.Planned(ORT, "onnx-old", None),
        against.Planned(ALPHA, "onnx", "no kernel"),
        against.Planned(replace(ORT, threads=2), "onnx", None),
    ]
    tree = Tree("base", tmp_path, "abc")
    found = against.sources(tree, planned, [ORT, ALPHA], parse(SMALL), lambda event: None)
    assert asked == [[("revisited-v6", "fp32", "onnx-old")], tmp_path]
    assert found == {
        replace(ORT, copy=BASE): Source(reason="it crashed"),
        replace(ALPHA, copy=BASE): Source(status="unsupported", reason="no kernel"),
    }


def both_sides(folder: Path, theirs: str | None) -> dict[Case, Source]:
    """A row of both versions, of which this one's file says how inputs are made, and one more."""
    ours = replace(fake_artifact(folder), preprocess='{"first": null}')
    base = Source(reason="none") if theirs is None else Source(replace(ours, preprocess=theirs))
    return {ORT: Source(ours), replace(ORT, copy=BASE): base, ALPHA: Source(ours)}


def test_other_inputs_are_refused_before_anything_is_measured(tmp_path: Path) -> None:
    """In a sentence with the row and both ways to make them."""
    with pytest.raises(UsageError) as caught:
        against.check_inputs(Tree("main", tmp_path, "abc"), both_sides(tmp_path, '{"first": 256}'))
    assert str(caught.value) == (
        '--against main: it makes other inputs for revisited-v6/fp32/ort/t1/b1 ({"first": 256}) '
        'than this version ({"first": null}): leave such rows out with --variants, or measure '
        "each version by itself"
    )


@pytest.mark.parametrize("theirs", ['{"first": null}', "", None])
def test_inputs_that_are_the_same_or_unknown_are_no_trouble(
    theirs: str | None, tmp_path: Path
) -> None:
    """An older version's files don't say it, and a row may have no file."""
    against.check_inputs(Tree("main", tmp_path, "abc"), both_sides(tmp_path, theirs))


def test_a_child_takes_its_code_from_the_tree_and_keeps_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever lies in the working folder, which relative paths go by."""
    (tmp_path / "tree" / "export").mkdir(parents=True)
    (tmp_path / "tree" / "export" / "__init__.py").touch()
    event = Event("note", Wanted("a", "b", "c"), "said")
    said = files._EVENT.dump_json(replace(event, text="the tree's")).decode()
    (tmp_path / "tree" / "export" / "run.py").write_text(f"print({said!r})\n")
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    monkeypatch.chdir(ROOT)
    heard: list[Event] = []
    files.build_files([("a", "b", "c")], parse(SMALL), heard.append, tmp_path / "tree")
    assert [one.text for one in heard] == ["the tree's"]
    assert launch.code_of(None) == {}
    assert launch.code_of(tmp_path)["PYTHONPATH"] == f"{tmp_path}{os.pathsep}/elsewhere"


# --- the rounds


class Rounds:
    """A run whose blocks take no time: what is asked for is measured as told."""

    def __init__(self, run_of, ratio: float, noise: float, block_s: float = 1.0) -> None:
        cases = (ORT, replace(ORT, copy=BASE))
        self.header = run_of(cases=cases, against=Against("main", "abc", against.LOOKS)).header
        self.measurements: list[Measurement] = []
        self.ratio, self.noise, self.block_s = ratio, random.Random(1), block_s
        self.sigma = noise
        for number in range(3):
            for case in cases:
                self.measure(number, case)

    def measure(self, number: int, case: Case) -> None:
        """One block."""
        centre = 1e7 * (1 if case.copy else self.ratio)
        latency = round(centre * math.exp(self.noise.gauss(0, self.sigma)))
        block = Measurement(case, number, "ok", latencies_ns=(latency,) * 9, warmup_settled=True)
        self.measurements.append(replace(block, block_s=self.block_s))

    def further(self, *words: str) -> list[int]:
        """The rounds that were added, each measured as it came."""
        return [batch[0][0] for batch in self.batches(*words)]

    def batches(self, *words: str) -> list[list[tuple[int, Case]]]:
        """The same with all their blocks."""
        options = parse([*SMALL, "--against", "main", *words])
        added = []
        for batch in against.further_rounds(self.header, self.measurements, options):
            added.append(batch)
            assert sorted(case.copy for _, case in batch) == ["", BASE]
            for number, case in batch:
                self.measure(number, case)
        return added


def test_a_decided_row_gets_no_further_round(run_of) -> None:
    """Twice as slow is seen in three rounds."""
    assert Rounds(run_of, 2.0, 0.01).further() == []


def test_an_undecided_row_is_judged_when_its_rounds_have_doubled(run_of) -> None:
    """Never in between: 3, 6, 12 and at last 24 rounds."""
    assert Rounds(run_of, 1.02, 0.01).further("--budget", "1h") == list(range(3, 24))
    assert Rounds(run_of, 1.10, 0.03).further("--budget", "1h") in (
        list(range(3, 6)),
        list(range(3, 12)),
    )


def test_every_second_further_round_goes_back_the_way_of_the_one_before(run_of) -> None:
    """As in the usual rounds: a steady drift cancels, whatever the seed."""
    for seed in range(9):
        batches = Rounds(run_of, 1.02, 0.01).batches("--budget", "1h", "--seed", str(seed))
        orders = {batch[0][0]: [case for _, case in batch] for batch in batches}
        # Those of 3 to 5, 6 to 11 and 12 to 23 are judged, and so ordered, together.
        for first in (3, *range(6, 24, 2)):
            assert orders[first + 1] == orders[first][::-1]


@pytest.mark.parametrize(("budget", "rounds"), [("0", 0), ("1", 0), ("2", 1), ("7", 3), ("8", 4)])
def test_the_budget_is_for_further_rounds_and_counted_in_records(
    budget: str, rounds: int, run_of
) -> None:
    """A round of two seconds starts only if it can end in time; a second start adds nothing."""
    run = Rounds(run_of, 1.02, 0.01)
    assert run.further("--budget", budget) == list(range(3, 3 + rounds))
    before = len(run.measurements)
    replayed = run.further("--budget", budget)
    assert len(replayed) <= rounds
    done = {(block.round, block.case) for block in run.measurements[:before]}
    assert {(block.round, block.case) for block in run.measurements} == done


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--margin", "3%"], "--margin is about a comparison: it needs --against"),
        (["--against", "x", "--budget", "soon"], "--budget soon: write seconds, or 90s, 10m, 1h"),
        (["--against", "x", "--margin", "3"], "--margin 3: write a share below 1"),
        (
            ["--against", "x", "--scenarios", "server", "--latency-bound", "50ms"],
            "--scenarios server can't be had with --against: a search for a rate is made once a "
            "run and has no interval; leave it out here, or measure each version by itself",
        ),
        (
            ["--against", "x", "--scenarios", "offline,single"],
            "--scenarios single can't be had with --against: what is compared there is our own",
        ),
    ],
)
def test_flags_of_a_comparison_are_checked(words: list[str], part: str) -> None:
    """Before anything is measured."""
    with pytest.raises(UsageError, match=part):
        parse(words)


def test_times_and_shares_are_read_in_their_units() -> None:
    """On the command line; a TOML file may have numbers."""
    for text, seconds in (("90", 90), ("90s", 90), ("1.5 m", 90), ("1h", 3600), ("0", 0)):
        assert parse(["--against", "x", "--budget", text]).budget == seconds
    for text, share in (("2%", 0.02), ("0.5 %", 0.005), ("0.02", 0.02), ("0", 0)):
        assert parse(["--against", "x", "--margin", text]).margin == pytest.approx(share)


# --- end to end: real trees, files, children


@pytest.fixture
def head(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of this project to be mutated, which believes a busy machine, too."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    pytest.importorskip("onnxruntime", reason="pip install 'deploybench[ort]'")
    pytest.importorskip("torch", reason="building needs torch: pip install 'deploybench[build]'")
    root = copy_of_this_project(tmp_path_factory.mktemp("head"))
    doubt = '    if block.status != "ok" or not block.latencies_ns:\n'
    mutate(root, "bench/validity.py", doubt, "    if block.status:\n")
    return root


def run(tree: Path, out: Path, store: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """``python -m bench.run --against`` this project, in a tree."""
    options = ["-t", "1", "--seconds", "0.05", "--budget", "0", "--out", str(out)]
    command = [sys.executable, "-m", "bench.run", "--against", str(ROOT), "--store", str(store)]
    whole = [*command, *options, *words]
    return subprocess.run(whole, cwd=tree, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_a_sleep_in_an_adapter_is_a_regression(
    head: Path, tmp_path: Path, store_folder: Path
) -> None:
    """Exit code 1: HEAD's children sleep, those of BASE run this project's own adapter."""
    call = "        return session.run("
    mutate(head, "runtimes/ort.py", call, f"        __import__('time').sleep(0.01)\n{call}")
    words = ["-m", "revisited-v6", "--recipes", "fp32", "--runtimes", "ort"]
    comment = tmp_path / "c.md"
    done = run(head, tmp_path / "out", store_folder, *words, "--markdown", str(comment))
    assert done.returncode == 1, done.stdout + done.stderr
    assert comment.read_text().startswith("**1 regressed**: 1 row of HEAD (commit ")
    (path,) = find_runs(tmp_path / "out")
    found = read_run(path)
    assert found.header.against == Against(ROOT.name, found.header.against.commit, 1)  # type: ignore[union-attr]
    assert str(ROOT) not in found.header.command
    copies = [{b.case.copy for b in found.measurements if b.round == n} for n in range(3)]
    assert all(each >= {"", BASE} for each in copies)


@pytest.mark.long
@pytest.mark.slow
def test_a_deleted_case_and_too_few_blocks(head: Path, tmp_path: Path, store_folder: Path) -> None:
    """Exit code 4 where HEAD's plan lost a row, 3 where two blocks can't tell."""
    words = ["-m", "revisited-v6", "--recipes", "fp32", "--runtimes"]
    few = run(head, tmp_path / "few", store_folder, *words, "ort", "--blocks", "2")
    assert few.returncode == 3, few.stdout + few.stderr
    assert "valid on both sides in 2 of the rounds: an interval takes 3" in few.stdout
    mutate(head, "runtimes/__init__.py", '"torch-eager": Entry(', '"torch-eagle": Entry(')
    gone = run(head, tmp_path / "gone", store_folder, *words, "ort,torch-eag*", "--blocks", "1")
    assert gone.returncode == 4, gone.stdout + gone.stderr
    row = "`revisited-v6@cifar10/fp32/torch-eager/t1/b1`"
    assert f"- BASE: failed: not measured, as HEAD has no such row: {row}" in gone.stdout


@pytest.mark.slow
def test_a_broken_environment_is_no_regression(
    head: Path, tmp_path: Path, store_folder: Path
) -> None:
    """Exit code 4: HEAD's runtime can't be imported, so that its row has no valid counterpart."""
    mutate(head, "runtimes/ort.py", "import onnxruntime\n", "import a_library_that_is_gone\n")
    words = ["-m", "revisited-v6", "--recipes", "fp32", "--runtimes", "ort", "--blocks", "1"]
    done = run(head, tmp_path / "out", store_folder, *words)
    assert done.returncode == 4, done.stdout + done.stderr
    assert "No module named 'a_library_that_is_gone'" in done.stdout
