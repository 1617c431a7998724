"""The main job, end to end: plan, build, measure, append, resume, show."""

from __future__ import annotations

import gzip
import hashlib
import signal
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from bench import block, blocks, choices, files, header, host, peaks, run
from bench.case import Case
from bench.choices import Blamed, Choice
from bench.command_line import parse
from bench.files import Event, Files, Fitting, file_key
from bench.labelled import Question
from bench.options import Options, UsageError
from bench.record import (
    Answers,
    Checkpoint,
    Execution,
    LoadTest,
    Measurement,
    Parity,
    Peaks,
    Recorder,
    RecordError,
    Surroundings,
    find_runs,
    read_run,
)
from export.artifact import Artifact
from export.build import Int8, WeightsFacts
from export.images import Preprocess
from tests.bench.made_up import fake_artifact
from tests.bench.made_up import header as made_header

Start = Callable[..., int]


class Lab:
    """A bench whose files and children are made up: which blocks ran is in ``ran``."""

    def __init__(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.out = tmp_path / "out"
        self.ran: list[tuple[int, str]] = []
        self.peaks: list[tuple[int, int]] = []
        self.reached: list[tuple[float, float]] = []
        self.asked: list[str] = []
        self.key = "k"
        self.interrupt_after: int | None = None
        self.failing: str | None = None
        self.classified: list[str] = []
        self.class_names = ("a", "b")
        self.tmp_path = tmp_path
        monkeypatch.setattr(files, "build", self.build)
        monkeypatch.setattr(files, "fitting", self.fitting)
        monkeypatch.setattr(blocks, "run_block", self.run_block)
        monkeypatch.setattr(run, "with_answers", self.with_answers)
        monkeypatch.setattr(host, "commit", lambda folder: "abc1234")
        monkeypatch.setattr(peaks, "measure", self.measure_peaks)

    def fitting(self, cases: Sequence[Case], options: Options) -> Fitting:
        """All weights fit, and know the same classes."""
        made_up = self.class_names == ("a", "b")
        known = WeightsFacts("cifar10", "w", self.class_names, placeholder_names=made_up)
        return Fitting(tuple(cases), {}, {case.variant: known for case in cases})

    def build(self, cases: list[Case], options: Options, show: Callable[[Event], None]) -> Files:
        """Every file exists."""
        keys = {file_key(case) for case in cases}
        artifact = replace(
            fake_artifact(self.tmp_path, self.key),
            class_names=self.class_names,
            placeholder_names=self.class_names == ("a", "b"),
            preprocess=Preprocess((32, 32)).to_json(),
        )
        return Files({key: replace(artifact, recipe=key[1]) for key in keys})

    def measure_peaks(
        self, threads: int, seconds: float, store: Path, say: Callable[[str], object]
    ) -> Peaks:
        """Peaks that nobody has measured; after how many blocks anybody asked is in ``peaks``."""
        self.peaks.append((threads, len(self.ran)))
        rate, bytes_per_s = self.reached.pop(0) if self.reached else (1e9, 1e9)
        return Peaks(threads, {"fp32": rate}, bytes_per_s, {"fp32": "ort"})

    def run_block(
        self, case: Case, number: int, artifact: Artifact, effort: block.Effort
    ) -> Measurement:
        """A block that takes no time."""
        if self.interrupt_after is not None and len(self.ran) >= self.interrupt_after:
            raise KeyboardInterrupt
        self.ran.append((number, str(case)))
        execution = Execution(source="made up") if effort.explain else None
        if effort.explain:
            self.asked.append(str(case))
        if case.runtime == self.failing:
            return Measurement(case, number, "failed", "killed by SIGKILL (out of memory?)")
        return Measurement(
            case,
            number,
            "ok",
            file=block.file_facts(artifact),
            latencies_ns=tuple(1_000_000 + 1000 * i for i in range(20)),
            load_s=0.01,
            first_s=0.002,
            warmup_settled=True,
            cpu_s=0.04,
            parity=Parity(0.0, 1.0, 1.0, 16, passed=case.runtime != "null"),
            execution=execution,
            sampled=self.sampled(effort.question) if number == 0 else None,
        )

    def with_answers(
        self, done: Measurement, artifact: Artifact, effort: block.Effort, question: Question
    ) -> Measurement:
        """Right for three images of four; which cases were asked is in ``classified``."""
        assert question.pixels.is_file()
        self.classified.append(str(done.case))
        *right, last = question.images.labelled.labels
        return replace(done, answers=Answers((*right, 1 - last), (0, 0, 0, 1)))

    def sampled(self, question: Question | None) -> Answers | None:
        """The right answer to the first image, where a case is asked about any."""
        if question is None:
            return None
        return Answers(question.images.labelled.labels[:1], (0,), (0,))

    def data(self, *classes: str) -> list[str]:
        """Four images in the test part, and the words that ask about all of them."""
        place = self.tmp_path / "data"
        for name in (f"{split}/{label}" for split in ("train", "test") for label in classes):
            (place / name).mkdir(parents=True)
            for i in range(4 // len(classes)):
                Image.new("RGB", (8, 8), (i, len(name), 0)).save(place / name / f"{i}.png")
        store = self.tmp_path / "store"
        words = ["--data", str(place), "--accuracy", "all", "--folder-order"]
        return [*words, "--store", str(store)]

    def start(self, *words: str) -> int:
        """``python -m bench.run`` on the small variant."""
        small = ["--variants", "revisited-base", "-t", "1", "--out", str(self.out)]
        return run.main([*small, *words])


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    """A fresh one for each test."""
    return Lab(tmp_path, monkeypatch)


def test_a_run_writes_records_and_tables(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    """Every case gets its blocks; the page and the compressed records stand; exit code 0."""
    assert lab.start() == 0
    assert len(lab.ran) == 5 * 3  # four cases and the second name of an A/A pair
    (path,) = find_runs(lab.out)
    assert path.name.endswith(".jsonl.gz")
    assert len(read_run(path).measurements) == 15
    page = (lab.out / "README.md").read_text()
    assert "revisited-base" in page
    assert str(lab.out / "README.md") in capsys.readouterr().out


def test_a_second_start_measures_nothing(lab: Lab) -> None:
    """The same command finds its blocks and leaves the records as they are."""
    lab.start()
    (path,) = find_runs(lab.out)
    before = gzip.decompress(path.read_bytes())
    lab.ran.clear()
    assert lab.start() == 0
    assert lab.ran == []
    assert gzip.decompress(path.read_bytes()) == before


def test_a_start_that_measures_nothing_keeps_the_commit_of_the_numbers(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A later commit with the same source did not make the numbers."""
    lab.start()
    monkeypatch.setattr(host, "commit", lambda folder: "later")
    assert lab.start() == 0
    (path,) = find_runs(lab.out)
    assert read_run(path).header.commit == "abc1234"


def test_a_run_that_measured_nothing_leaves_no_record(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An argument that turns out to be wrong while building is no interrupted run."""

    def refuse(*arguments: object) -> Files:
        raise UsageError("--data /nowhere doesn't exist")

    monkeypatch.setattr(files, "build", refuse)
    assert lab.start() == 2
    assert find_runs(lab.out) == []


def test_two_runs_at_once_are_told_before_anything_is_built(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Building beside a run that measures would disturb its times."""
    codes: list[int] = []
    whole = lab.build

    def build(*arguments: Any) -> Files:
        if not codes:
            codes.append(0)
            codes[0] = lab.start()
        return whole(*arguments)

    monkeypatch.setattr(files, "build", build)
    assert lab.start() == 0
    assert codes == [1]
    assert "another run is recording" in capsys.readouterr().err


def test_what_nohup_ignores_stays_ignored(lab: Lab) -> None:
    """A run started with nohup outlives the terminal."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        lab.start()
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_variants_that_the_weights_do_not_fit_are_named(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A row that is not there has to be missed by somebody."""
    misfits = {"vgg19": "no key fc.weight"}
    monkeypatch.setattr(
        files, "fitting", lambda *arguments: lab.fitting(*arguments)._replace(misfits=misfits)
    )
    lab.start()
    told = " ".join(capsys.readouterr().out.split())
    assert "left out: vgg19, which these weights don't fit: no key fc.weight" in told


def test_an_interrupted_run_goes_on_where_it_stopped(lab: Lab) -> None:
    """Ctrl-C keeps what was measured (exit code 130); the same command does the rest."""
    lab.interrupt_after = 2
    assert lab.start() == 130
    first = list(lab.ran)
    assert len(read_run(find_runs(lab.out)[0]).measurements) == 2
    assert "Interrupted" in (lab.out / "README.md").read_text()
    lab.interrupt_after = None
    lab.ran.clear()
    assert lab.start() == 0
    assert len(lab.ran) == 13
    assert not set(first) & set(lab.ran)


def test_a_budget_is_spent_on_contenders_and_told(
    lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    """One block of each of five cases, two more of all but the harness's own, and why no more."""
    assert lab.start("--budget", "10m") == 0
    numbers = [number for number, _ in lab.ran]
    assert [numbers.count(number) for number in range(4)] == [5, 4, 4, 0]
    assert [name for number, name in lab.ran if number and "null" in name] == []
    assert "no more blocks (given up: 3 rows not told apart, " in capsys.readouterr().out
    (path,) = find_runs(lab.out)
    budget = read_run(path).header.budget
    assert budget is not None
    assert (budget.seconds, budget.stopped.partition(":")[0]) == (600, "given up")
    assert (
        "(--budget of 600 s; ended: given up: 3 rows not told apart, "
        in (lab.out / "README.md").read_text()
    )


@pytest.mark.parametrize("after", [3, 5, 8, 13])
def test_an_interrupted_budget_goes_on(after: int, lab: Lab) -> None:
    """In the first round or a later one: the same command measures the rest, and then nothing."""
    lab.interrupt_after = after
    assert lab.start("--budget", "10m") == (130 if after < 13 else 0)
    lab.interrupt_after = None
    assert lab.start("--budget", "10m") == 0
    assert len(lab.ran) == len(set(lab.ran)) == 13
    (path,) = find_runs(lab.out)
    before = path.read_bytes()
    assert lab.start("--budget", "10m") == 0
    assert len(lab.ran) == 13
    assert path.read_bytes() == before


def test_a_rebuilt_file_is_measured_again(lab: Lab) -> None:
    """Blocks of another artifact don't count as done."""
    lab.start()
    lab.ran.clear()
    lab.key = "rebuilt"
    lab.start()
    assert len(lab.ran) == 15


def test_a_block_that_proves_nothing_is_measured_again(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """INVALID blocks count as missing for the same command; all others stand."""
    plain = lab.run_block

    def disturbed(case: Case, number: int, artifact: Artifact, effort: block.Effort) -> Measurement:
        busy = Surroundings(1.0, 2.0 if (case.runtime, number) == ("null", 1) else 0.0, 0.0, 0, 0)
        return replace(plain(case, number, artifact, effort), surroundings=busy)

    monkeypatch.setattr(blocks, "run_block", disturbed)
    lab.start()
    lab.ran.clear()
    monkeypatch.setattr(blocks, "run_block", plain)
    lab.start()
    assert lab.ran == [(1, "revisited-base@cifar10/fp32/null/t1/b1")]


def test_a_block_whose_test_of_loadgen_was_disturbed_is_measured_again(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though the number of our own loop, which its row states, can be believed."""
    plain = lab.run_block

    def disturbed(case: Case, number: int, artifact: Artifact, effort: block.Effort) -> Measurement:
        busy = Surroundings(1.0, 2.0 if (case.runtime, number) == ("null", 1) else 0.0, 0.0, 0, 0)
        test = LoadTest("latency_p90_s", 0.001, valid=True, surroundings=busy)
        return replace(plain(case, number, artifact, effort), load_test=test)

    monkeypatch.setattr(blocks, "run_block", disturbed)
    lab.start()
    lab.ran.clear()
    monkeypatch.setattr(blocks, "run_block", plain)
    lab.start()
    assert lab.ran == [(1, "revisited-base@cifar10/fp32/null/t1/b1")]


def test_a_page_that_somebody_else_wrote_is_kept(
    lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    """``--out .`` in a project is refused before anything is measured."""
    lab.out.mkdir()
    (lab.out / "README.md").write_text("my own words")
    assert lab.start() == 1
    assert "was not written by deploybench and is kept" in capsys.readouterr().err
    assert (lab.out / "README.md").read_text() == "my own words"
    assert lab.ran == []


def test_a_damaged_record_is_told_before_anything_is_measured(
    lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whole files are read at the start, not only their headers."""
    lab.start()
    (path,) = find_runs(lab.out)
    lines = gzip.decompress(path.read_bytes()).replace(b'"round":1', b'"sound":1', 1)
    path.write_bytes(gzip.compress(lines))
    lab.ran.clear()
    assert lab.start("--fresh") == 1
    assert "round: Field required" in capsys.readouterr().err
    assert lab.ran == []


def test_a_store_that_is_no_folder_is_a_usage_error(
    lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    """Told by its name, before a record is begun."""
    place = lab.tmp_path / "file"
    place.touch()
    assert lab.start("--store", str(place)) == 2
    assert f"--store {place}: File exists; name a folder" in capsys.readouterr().err
    assert not find_runs(lab.out)


def test_two_files_of_one_name_are_told_apart(tmp_path: Path) -> None:
    """Results are compared only where weights and images are the same, not just called so."""
    prints = []
    for content in ("a", "bb"):
        place = tmp_path / content
        place.mkdir()
        (place / "images.zip").write_text(content)
        prints += [header.fingerprint(str(place / "images.zip")), header.fingerprint(str(place))]
    assert len(set(prints)) == 4
    assert header.fingerprint("seeded") == header.fingerprint("") == ""


def test_only_whole_folders_are_taken_out_of_a_text(tmp_path: Path) -> None:
    """A folder whose name begins like the store's is another one."""
    options = parse(["--store", str(tmp_path / "walk")])
    text = f"{tmp_path}/walk/a.onnx, {tmp_path}/walk-out, '{tmp_path}/walk'"
    shown = header.without_paths(text, options)
    assert shown == f"STORE/a.onnx, {tmp_path}/walk-out, 'STORE'"


def test_fresh_measures_again_and_loses_nothing(lab: Lab) -> None:
    """``--fresh`` starts a run of its own beside the old one."""
    lab.start()
    lab.ran.clear()
    assert lab.start("--fresh") == 0
    assert len(lab.ran) == 15
    assert len(find_runs(lab.out)) == 2


def test_a_fresh_run_that_was_interrupted_is_gone_on_with(lab: Lab) -> None:
    """``--fresh`` starts one new run, not another at each start."""
    lab.start()
    lab.interrupt_after = len(lab.ran) + 2
    assert lab.start("--fresh") == 130
    lab.interrupt_after = None
    assert lab.start("--fresh") == 0
    assert len(lab.ran) == 30
    assert len(find_runs(lab.out)) == 2


def test_records_that_are_not_ours_stop_the_run_at_once(
    lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    """A foreign file below --out is named before anything is built or measured."""
    (lab.out / "records").mkdir(parents=True)
    (lab.out / "records" / "foreign.jsonl").write_text("{}\n")
    assert lab.start() == 1
    assert "foreign.jsonl line 1" in capsys.readouterr().err
    assert lab.ran == []


def test_no_folder_of_this_machine_stands_in_the_records(lab: Lab) -> None:
    """Store and home are named, not spelt out."""
    store = lab.tmp_path / "somewhere" / "store"
    lab.start("--store", str(store))
    content = read_run(find_runs(lab.out)[0])
    assert "--store STORE" in content.header.command
    assert str(store) not in content.header.command
    options = parse(["--data", "/mnt/pictures/roses.zip", "--store", str(store)])
    assert header.without_paths("--data /mnt/pictures/roses.zip", options) == "--data roses.zip"
    aside = replace(options, out=Path("/mnt/runs/first"))
    assert header.without_paths("--out /mnt/runs/first", aside) == "--out first"
    told = replace(options, int8_choice="/mnt/runs/search")
    assert header.without_paths("--int8-choice /mnt/runs/search", told) == "--int8-choice search"
    kept = replace(options, out=Path("results/local"))
    assert header.without_paths("--out results/local", kept) == "--out results/local"


def choice(**changes: Any) -> Choice:
    """What a search found for the small variant, changed like that."""
    return replace(Choice("revisited-base", "cifar10", Int8("entropy"), "plants", 1.0), **changes)


def test_the_choice_of_a_search_stands_in_the_header(lab: Lab) -> None:
    """Whole, and only where an .onnx file is quantised by it: a page can say what was built."""
    folder = lab.tmp_path / "search"
    choices.write(folder, choice(blamed=(Blamed("Conv_0", 0.5),)))
    words = ["--runtimes", "ort", "--int8-choice", str(folder)]
    lab.start(*words, "--recipes", "fp32")
    (path,) = find_runs(lab.out)
    assert read_run(path).header.int8_choices == ()
    lab.start(*words, "--recipes", "fp32,int8-static")
    (path,) = set(find_runs(lab.out)) - {path}
    assert read_run(path).header.int8_choices == (choice(blamed=(Blamed("Conv_0", 0.5),)),)


def test_another_choice_is_another_run(lab: Lab) -> None:
    """A search may choose anew in the same folder: the header must not tell of the old files."""
    folder = lab.tmp_path / "search"
    words = ["--runtimes", "ort", "--recipes", "int8-static", "--int8-choice", str(folder)]
    for method in ("entropy", "minmax"):
        choices.write(folder, choice(int8=Int8(method)))
        lab.start(*words)
        lab.start(*words)
    told = [read_run(path).header.int8_choices for path in find_runs(lab.out)]
    assert sorted(one.int8.method for (one,) in told) == ["entropy", "minmax"]


def test_a_failed_row_is_exit_code_1_and_the_run_goes_on(lab: Lab) -> None:
    """A child that is killed costs its row; the other rows are measured."""
    lab.failing = "torch-eager"
    assert lab.start() == 1
    statuses = {m.case.runtime: m.status for m in read_run(find_runs(lab.out)[0]).measurements}
    assert statuses == {"torch-eager": "failed", "ort": "ok", "null": "ok"}
    assert "killed by SIGKILL" in (lab.out / "README.md").read_text()


def test_a_file_that_could_not_be_built_is_a_row_with_its_reason(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A converter that fails is a result, once and not in every round."""

    def nothing(cases: list[Case], options: Options, show: Callable[[Event], None]) -> Files:
        return Files({}, {file_key(case): "to-onnx: the converter crashed" for case in cases})

    monkeypatch.setattr(files, "build", nothing)
    assert lab.start() == 1
    blocks = read_run(find_runs(lab.out)[0]).measurements
    assert {(m.status, m.reason) for m in blocks} == {("failed", "to-onnx: the converter crashed")}
    assert len(blocks) == 5


def test_what_a_converter_refuses_is_unsupported(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """A runtime that can't be given such a file is no failure of ours: exit code 0."""

    def nothing(cases: list[Case], options: Options, show: Callable[[Event], None]) -> Files:
        keys = {file_key(case): "to-ncnn: pnnx ended with exit code 1" for case in cases}
        return Files({}, keys, set(keys))

    monkeypatch.setattr(files, "build", nothing)
    assert lab.start() == 0
    blocks = read_run(find_runs(lab.out)[0]).measurements
    assert {m.status for m in blocks} == {"unsupported"}


def test_unsupported_is_no_failure(lab: Lab) -> None:
    """A row that can't be is shown with its reason; the exit code stays 0."""
    assert lab.start("--recipes", "int8-static", "--runtimes", "torch-eager,ort") == 0
    blocks = read_run(find_runs(lab.out)[0]).measurements
    assert [m.status for m in blocks if m.case.runtime == "torch-eager"] == ["unsupported"]


def test_idling_is_watched_once_for_each_pool(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """The model doesn't matter to a pool that spins: one second for each runtime and recipe."""
    watched: list[str] = []
    plain = lab.run_block

    def watch(case: Case, number: int, artifact: Artifact, effort: block.Effort) -> Measurement:
        watched.extend([f"{case.runtime} {case.recipe}"] if effort.idle_s else [])
        done = plain(case, number, artifact, effort)
        return replace(done, idle_cpu_s=0.1 if effort.idle_s and number == 0 else None)

    monkeypatch.setattr(blocks, "run_block", watch)
    assert lab.start("--idle-seconds", "1") == 0
    assert sorted(watched) == ["null fp32", "ort fp32-opt", "ort int8-static", "torch-eager fp32"]


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--variants", "vg19"], "did you mean vgg19"),
        (["--recipes", "int9"], "did you mean int8"),
        (["--runtimes", "orrt"], "did you mean ort"),
        (["--threads", "0"], "--threads 0"),
    ],
)
def test_a_bad_argument_is_exit_code_2_and_writes_nothing(
    lab: Lab, words: list[str], part: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The flag and the remedy, before anything is built or measured."""
    assert lab.start(*words) == 2
    assert part in capsys.readouterr().err
    assert not lab.out.exists()


def test_a_full_disk_is_a_sentence_and_earlier_records_stand(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was measured before the disk was full can still be read."""
    append = Recorder.append

    def full(self: Recorder, measurement: Measurement) -> None:
        if len(self.measurements) == 3:
            raise RecordError("disk full: the 3 blocks measured so far are intact")
        append(self, measurement)

    monkeypatch.setattr(Recorder, "append", full)
    assert lab.start() == 1
    assert "disk full" in capsys.readouterr().err
    assert len(read_run(find_runs(lab.out)[0]).measurements) == 3


def test_peaks_are_measured_before_the_blocks_and_behind_them(lab: Lab) -> None:
    """With how many threads, after how many blocks; an interrupted run keeps its first."""
    lab.interrupt_after = 2
    assert lab.start() == 130
    assert lab.peaks == [(1, 0)]
    lab.interrupt_after = None
    assert lab.start() == 0
    assert lab.peaks == [(1, 0), (1, 15)]
    content = read_run(find_runs(lab.out)[0])
    assert len(content.measurements) == len(set(lab.ran)) == 15


@pytest.mark.parametrize(
    ("rates", "bandwidths", "known"),
    [((1e9, 2e9), (3e9, 1e9), (2e9, 3e9)), ((2e9, 1e9), (1e9, 3e9), (2e9, 3e9))],
)
def test_of_the_peaks_before_and_behind_the_larger_is_recorded(
    rates: tuple[float, ...], bandwidths: tuple[float, ...], known: tuple[float, ...], lab: Lab
) -> None:
    """Whichever moment was disturbed: a row is held to what the host can really do."""
    lab.reached = list(zip(rates, bandwidths, strict=True))
    assert lab.start() == 0
    (found,) = read_run(find_runs(lab.out)[0]).header.peaks
    assert (found.macs_per_s["fp32"], found.bytes_per_s) == known


def test_a_run_that_has_nothing_left_measures_no_peaks(lab: Lab) -> None:
    """A second start of a finished run costs nothing."""
    lab.start()
    lab.peaks.clear()
    assert lab.start() == 0
    assert lab.peaks == []


def test_a_runtime_is_asked_once_what_it_made_of_a_file(lab: Lab) -> None:
    """Not again in later rounds, for a second name, or for other threads and batches."""
    lab.start("--runtimes", "ort,torch-eager", "--recipes", "fp32", "-b", "1,4")
    assert sorted(name.split("/")[2] for name in lab.asked) == ["ort", "torch-eager"]
    lab.asked.clear()
    assert lab.start("--runtimes", "ort", "--recipes", "fp32", "--fresh") == 0
    assert len(lab.asked) == 1


def test_a_file_is_asked_about_all_images_once(
    lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not in later rounds, not under a second name, not again by the same command."""
    words = lab.data("a", "b")
    assert lab.start(*words) == 0
    named = [name.partition("#")[0] for name in lab.classified]
    assert sorted(named) == [
        "revisited-base@cifar10/fp32-opt/ort/t1/b1",
        "revisited-base@cifar10/fp32/torch-eager/t1/b1",
        "revisited-base@cifar10/int8-static/ort/t1/b1",
    ]
    content = read_run(find_runs(lab.out)[0])
    assert content.header.labelled is not None
    assert sorted(content.header.labelled.labels) == [0, 0, 1, 1]
    answered = {str(m.case) for m in content.measurements if m.answers}
    assert len(answered) == 4  # the second name of an A/A pair takes the first one's answers
    assert {m.round for m in content.measurements if m.answers or m.sampled} == {0}
    shown = " ".join(capsys.readouterr().out.split())
    assert "accuracy: resizing 4 images to 32 x 32" in shown
    assert "(0: a, 1: b) is assumed" in shown
    assert "top-1 75.0 %" in shown
    lab.classified.clear()
    assert lab.start(*words) == 0
    assert lab.classified == []
    assert "resizing" not in capsys.readouterr().out


def test_an_interrupted_run_asks_only_what_it_does_not_know(lab: Lab) -> None:
    """Blocks that stand were answered for; the others are when they are measured."""
    words = lab.data("a", "b")
    lab.interrupt_after = 3
    assert lab.start(*words) == 130
    first = [name.partition("#")[0] for name in lab.classified]
    lab.interrupt_after = None
    lab.classified.clear()
    assert lab.start(*words) == 0
    then = [name.partition("#")[0] for name in lab.classified]
    assert not set(first) & set(then)
    assert len(first) + len(then) == 3


def test_a_sample_needs_no_child_of_its_own(lab: Lab) -> None:
    """``--accuracy sample`` is what the timed sessions answer."""
    assert lab.start(*lab.data("a", "b"), "--accuracy", "sample") == 0
    assert lab.classified == []
    blocks = read_run(find_runs(lab.out)[0]).measurements
    assert {m.case.runtime for m in blocks if m.sampled} == {"torch-eager", "ort"}


def test_other_images_are_another_run(lab: Lab) -> None:
    """Under the same folder's name: answers to different images are never mixed."""
    words = lab.data("a", "b")
    lab.start(*words)
    Image.new("RGB", (8, 8), (9, 9, 9)).save(lab.tmp_path / "data" / "test" / "a" / "0.png")
    lab.ran.clear()
    assert lab.start(*words) == 0
    assert len(lab.ran) == 15
    assert len(find_runs(lab.out)) == 2


def test_classes_that_are_others_are_told_before_anything_is_built(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2, both sides, and no record."""
    lab.class_names = ("cat", "dog")
    monkeypatch.delattr(files, "build")
    assert lab.start(*lab.data("cat", "dogs")) == 2
    told = capsys.readouterr().err
    assert "has 2 classes (cat, dog), data has 2 (cat, dogs)" in told
    assert "only the data has dogs; only the checkpoint has dog" in told
    assert lab.ran == []
    assert find_runs(lab.out) == []


def test_an_unreadable_image_is_told_before_anything_is_measured(
    lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2, its name, and no record."""
    words = lab.data("a", "b")
    (lab.tmp_path / "data" / "test" / "a" / "0.png").write_bytes(b"none")
    assert lab.start(*words) == 2
    assert "can't be read: test/a/0.png" in capsys.readouterr().err
    assert lab.ran == []
    assert find_runs(lab.out) == []


def test_weights_that_learnt_at_another_size_are_told(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line for a variant, and the size stays in its rows' records."""

    def build(cases: list[Case], options: Options, show: Callable[[Event], None]) -> Files:
        made = Lab.build(lab, cases, options, show)
        for key, row in made.artifacts.items():
            made.artifacts[key] = replace(row, facts={"learnt_size": [64, 48]})
        return made

    monkeypatch.setattr(files, "build", build)
    assert lab.start() == 0
    told = " ".join(capsys.readouterr().out.split())
    line = "revisited-base with its weights (seeded): learnt at 64x48, used at 32x32"
    assert told.count(line) == 1
    blocks = read_run(find_runs(lab.out)[0]).measurements
    assert {block.file.learnt_size for block in blocks if block.file} == {(64, 48)}


def test_rows_whose_classes_have_no_names_say_so_on_the_page(lab: Lab) -> None:
    """No accuracy that rests on a guess: the page says why, and how to say that it is none."""
    words = [word for word in lab.data("a", "b") if word != "--folder-order"]
    assert lab.start(*words) == 0
    assert lab.classified == []
    page = (lab.out / "README.md").read_text()
    assert "accuracy: revisited-base with its weights (seeded) does not name its classes" in page
    assert "--folder-order says that they do" in page


def test_rows_that_can_not_be_asked_say_why(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of other classes beside one that fits is measured, with a note."""
    plain = lab.build

    def build(cases: list[Case], options: Options, show: Callable[[Event], None]) -> Files:
        made = plain(cases, options, show)
        for key, artifact in made.artifacts.items():
            if key[1] == "int8-static":
                made.artifacts[key] = replace(artifact, class_names=("a", "b", "c"))
        return made

    monkeypatch.setattr(files, "build", build)
    assert lab.start(*lab.data("a", "b")) == 0
    blocks = read_run(find_runs(lab.out)[0]).measurements
    reasons = {m.case.recipe: m.reason for m in blocks if m.reason}
    assert list(reasons) == ["int8-static"]
    assert reasons["int8-static"].startswith("accuracy: revisited-base with its weights (seeded)")
    assert "`beside`: accuracy: revisited-base" in (lab.out / "README.md").read_text()


def test_the_header_names_the_file_of_each_variants_weights(lab: Lab, tmp_path: Path) -> None:
    """Name without folder and whole sha256, whether it comes with the package; the page says it."""
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    (folder / "revisited-base_mine.safetensors").write_bytes(b"weights")
    lab.start("--runtimes", "ort", "--recipes", "fp32", "--checkpoints", str(folder))
    (path,) = find_runs(lab.out)
    digest = hashlib.sha256(b"weights").hexdigest()
    own = Checkpoint("revisited-base", "revisited-base_mine.safetensors", digest)
    assert read_run(path).header.checkpoints == (own,)
    page = (lab.out / "README.md").read_text()
    said = f"revisited-base_mine.safetensors (sha256 {digest[:12]}, not part of the project)"
    assert f"- Checkpoints: `revisited-base`: {said}\n" in page


def test_packaged_weights_are_told_from_the_users(lab: Lab) -> None:
    """Of what is built from seeds nothing is said."""
    words = ["--runtimes", "ort", "--recipes", "fp32"]
    lab.start(*words)
    (path,) = find_runs(lab.out)
    (found,) = read_run(path).header.checkpoints
    assert (found.file, found.packaged) == ("revisited-base_cifar10.safetensors", True)
    assert "comes with the package" in (lab.out / "README.md").read_text()
    lab.start(*words, "--weights", "seeded")
    (other,) = set(find_runs(lab.out)) - {path}
    assert read_run(other).header.checkpoints == ()


def test_what_a_later_start_adds_to_the_plan_names_its_weights(lab: Lab) -> None:
    """Going on keeps the first start's header, but for what is planned by now."""
    first = Checkpoint("a", "a_x.safetensors", "1")
    other = Checkpoint("b", "b_x.safetensors", "2")
    with Recorder.open(lab.out, made_header(checkpoints=(first,))) as recorder:
        recorder.append(Measurement(Case("a", "fp32", "ort", 1), 0, "ok"))
    with Recorder.open(lab.out, made_header(checkpoints=(first, other))) as recorder:
        assert recorder.header.checkpoints == (first, other)
