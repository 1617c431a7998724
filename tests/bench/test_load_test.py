"""Scenarios from the parent's side: what is planned, what a child is asked, and the search."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bench import case as cases
from bench import launch, load_test, workers
from bench.block import Effort
from bench.case import Case, crossover, left_out, plan, unsupported
from bench.command_line import parse
from bench.load_test import Limits
from bench.options import SCENARIOS, UsageError
from bench.record import LoadTest, Measurement, Probe
from export.artifact import Artifact

Built = Callable[[str, str, str], Artifact]
ORT = Case("revisited-v6", "fp32", "ort", 2)
SERVER = replace(ORT, scenario="server")
LIMITS = Limits(0.05, 20.0, 0.05)
needs_loadgen = pytest.mark.skipif(
    importlib.util.find_spec("mlperf_loadgen") is None,
    reason="needs LoadGen: pip install 'deploybench[loadgen]'",
)


def planned(*words: str) -> list[str]:
    """The row keys of a small plan."""
    small = ["-m", "revisited-v6", "--recipes", "fp32", "--runtimes", "ort,null", "-t", "1"]
    return [str(case) for case in plan(parse([*small, *words]))]


# --- options and plan


def test_our_own_loop_is_the_default() -> None:
    """Without the flag nothing is planned that needs LoadGen."""
    assert planned() == [
        "revisited-v6@cifar10/fp32/ort/t1/b1",
        "revisited-v6@cifar10/fp32/null/t1/b1",
    ]


def test_every_scenario_gives_its_row_beside_our_own_loop() -> None:
    """In MLPerf's order; the harness's own row has none of them."""
    assert planned("--scenarios", "server,offline,multi", "--latency-bound", "50ms") == [
        "revisited-v6@cifar10/fp32/ort/t1/b1",
        "revisited-v6@cifar10/fp32/ort/t1/b1/multi",
        "revisited-v6@cifar10/fp32/ort/t1/b1/offline",
        "revisited-v6@cifar10/fp32/ort/t1/b1/server",
        "revisited-v6@cifar10/fp32/null/t1/b1",
    ]


def test_a_suites_sweep_has_no_scenarios() -> None:
    """Threads and batch sizes that the user did not name are measured by our own loop."""
    words = ["--suite", "runtimes", "-m", "revisited-v6", "-t", "2", "--scenarios", "offline"]
    found = {(case.threads, case.batch_size) for case in plan(parse(words))}
    assert {(1, 1), (2, 4), (2, 8)} <= found
    apart = [case for case in plan(parse(words)) if case.scenario == "offline"]
    assert {(case.threads, case.batch_size) for case in apart} == {(2, 1)}


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--scenarios", "server"], "--scenarios server needs --latency-bound"),
        (["--scenarios", "*"], "--scenarios server needs --latency-bound"),
        (["--latency-bound", "50ms"], "--latency-bound is for --scenarios server"),
        (["--scenarios", "server", "--latency-bound", "50"], "--latency-bound 50 is not a time"),
        (["--scenarios", "server", "--latency-bound", "0ms"], "needs --latency-bound"),
        (["--scenarios", "serve"], "--scenarios: nothing is called 'serve'; did you mean server"),
        (["--scenario-seconds", "0"], "--scenario-seconds 0 is not between 0.1 and 3600"),
    ],
)
def test_a_bad_scenario_is_refused_by_its_flag(words: list[str], complaint: str) -> None:
    """What is wrong is said before anything runs, with what to do."""
    with pytest.raises(UsageError) as caught:
        parse(words)
    assert complaint in str(caught.value)


@pytest.mark.parametrize(("text", "seconds"), [("50ms", 0.05), ("0.5 s", 0.5), ("200us", 2e-4)])
def test_a_bound_has_a_unit(text: str, seconds: float) -> None:
    """Seconds inside, whatever the user wrote."""
    bound = parse(["--scenarios", "server", "--latency-bound", text]).latency_bound
    assert bound == pytest.approx(seconds)


def test_a_search_is_made_once() -> None:
    """Its rates are children enough; other scenarios are in every round, in the usual order."""
    both = (ORT, SERVER)
    rounds = list(crossover(both, 3, seed=1))
    assert [number for number, case in rounds if case == SERVER] == [0]
    assert [number for number, case in rounds if case == ORT] == [0, 1, 2]


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        (replace(SERVER, batch_size=4), "a server answers one image at a time here: batch 1 only"),
        (
            replace(ORT, scenario="multi", batch_size=3),
            "a query of 8 images can't be cut into batches of this size",
        ),
        (
            replace(ORT, scenario="workers", threads=1),
            "one thread makes one worker, which is the row without workers: give more --threads",
        ),
    ],
)
def test_what_a_scenario_has_no_answer_to_is_unsupported(case: Case, reason: str) -> None:
    """A row with its reason, as for a runtime."""
    pytest.importorskip("onnxruntime", reason="needs onnxruntime")
    pytest.importorskip("torch", reason="building needs torch")
    assert unsupported(case) == reason


def test_a_missing_extra_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """LoadGen's scenarios are unsupported without it; our own loop and workers need none."""
    version = importlib.metadata.version

    def without(name: str) -> str:
        if name == "mlcommons-loadgen":
            raise importlib.metadata.PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(importlib.metadata, "version", without)
    monkeypatch.setattr(cases, "missing", lambda name: None)
    monkeypatch.setattr(cases, "_missing_tools", lambda case: None)
    reason = "MLPerf LoadGen is not installed: pip install 'deploybench[loadgen]'"
    found = {name: unsupported(replace(ORT, scenario=name)) for name in SCENARIOS}
    assert found == {
        "single": None,
        "multi": reason,
        "offline": reason,
        "server": reason,
        "workers": None,
    }
    assert f"single, by our own loop only: {reason}" in left_out(parse(["--scenarios", "single"]))


def test_only_a_named_single_is_measured_by_loadgen_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And not its second copy, which is there to be the same again."""
    alone, named = parse([]), parse(["--scenarios", "single"])
    assert not load_test.wanted(ORT, alone)
    monkeypatch.setattr(load_test, "missing_loadgen", lambda: None)
    assert load_test.wanted(ORT, named)
    monkeypatch.setattr(load_test, "missing_loadgen", lambda: "not installed")
    assert not load_test.wanted(ORT, named)  # our own loop is measured all the same
    assert not load_test.wanted(replace(ORT, copy="again"), named)
    assert load_test.wanted(SERVER, alone)


# --- what a child is asked


@pytest.mark.parametrize(
    ("scenario", "expected_s", "queries"),
    [
        ("single", 0.01, 64),
        ("single", 1.0, 1),  # 64 s don't fit into 20
        ("multi", 0.001, 662),
        ("multi", 0.01, 1),
        ("offline", 0.01, 1),
    ],
)
def test_a_test_asks_for_the_queries_that_early_stopping_needs(
    scenario: str, expected_s: float, queries: int
) -> None:
    """Where they don't fit into the time, LoadGen's INVALID comes no cheaper with more of them."""
    asked = load_test.message(replace(ORT, scenario=scenario), expected_s, LIMITS)
    assert asked["queries"] == queries
    assert (asked["least_s"], asked["most_s"]) == (0.05, 20.0)


def test_a_server_is_asked_by_its_rate() -> None:
    """How long its queries take is how slowly they come."""
    assert load_test.message(SERVER, 0.001, LIMITS, rate=50.0)["queries"] == 662
    assert load_test.message(SERVER, 0.001, LIMITS, rate=20.0)["queries"] == 1


@pytest.mark.parametrize(("bound_s", "least_s"), [(0.001, 0.05), (0.05, 0.5), (60.0, 20.0)])
def test_a_servers_test_is_long_against_its_bound(bound_s: float, least_s: float) -> None:
    """Else no queue could grow past the bound and any rate would do."""
    asked = load_test.message(SERVER, 0.001, replace(LIMITS, bound_s=bound_s), rate=50.0)
    assert asked["least_s"] == pytest.approx(least_s)


@pytest.mark.parametrize("scenario", ["offline", "workers"])
def test_a_scenario_of_another_version_runs_its_code(
    scenario: str, artifact: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its children are started in the checkout that is measured, whatever the scenario."""
    roots: list[Path | None] = []

    def started(self: launch.Child, setting: launch.Setting, log: Path) -> None:
        roots.append(setting.root)
        raise launch.ChildDied("this test starts none")

    monkeypatch.setattr(launch.Child, "__init__", started)
    effort = Effort(seconds=0.02, samples=4, logs=tmp_path, root=tmp_path)
    case = replace(ORT, runtime="null", scenario=scenario)
    assert load_test.run(case, 1, artifact, effort, LIMITS).status == "failed"
    assert roots == [tmp_path]


# --- the search


def searched(
    most: float, capacity: float = 100.0, least: float = 1.0
) -> tuple[list[float], tuple[Probe, ...]]:
    """The rates that are tried on a system that keeps its bound up to ``most`` a second."""
    asked = []

    def probe(rate: float) -> Probe:
        asked.append(rate)
        return Probe(rate, 0.01, rate <= most, () if rate <= most else ("too slow",))

    return asked, load_test.search(capacity, least, probe)


@pytest.mark.parametrize(
    ("most", "asked"),
    [
        (1000.0, [50, 75, 87.5, 93.75]),
        (70.0, [50, 75, 62.5, 68.75]),
        (20.0, [50, 25, 12.5, 18.75, 21.875, 20.3125]),
        (0.0, [50, 25, 12.5, 6.25, 3.125, 1.5625, 1.0]),
    ],
)
def test_the_search_halves_and_then_bisects(most: float, asked: list[float]) -> None:
    """From half the single stream's rate, never above it, until within a tenth."""
    assert searched(most)[0] == asked


@pytest.mark.parametrize("most", [0.5, 3.0, 11.0, 49.0, 51.0, 77.7, 99.0, 1e9])
def test_the_search_brackets_the_highest_rate(most: float) -> None:
    """What it answers passed, what is a tenth above it failed or can't be sustained."""
    _, tried = searched(most)
    low, high = load_test.bracket(100.0, tried)
    assert len(tried) <= load_test.MOST_PROBES
    assert low <= most
    assert high > most or high == 100.0
    assert not low or high <= load_test.RESOLUTION * low or len(tried) == load_test.MOST_PROBES


def test_the_search_ends_where_arrivals_are_too_slow() -> None:
    """Below the least rate nothing can be shown in the time; that rate itself is tried last."""
    assert searched(0.0, least=30.0)[0] == [50, 30]
    assert searched(0.0, least=100.0)[0] == []


def test_an_odd_answer_does_not_lead_the_search_astray() -> None:
    """A rate that passed above one that failed is not believed."""
    odd = (Probe(50, 1, valid=False), Probe(75, 1, valid=True), Probe(25, 1, valid=True))
    assert load_test.bracket(100.0, odd) == (25, 50)
    assert load_test.next_rate(100.0, 1.0, odd) == 37.5


def test_what_is_found_is_the_test_at_the_highest_rate_that_passed() -> None:
    """With everything that was tried, and the bound."""
    test = LoadTest("queries_per_s", 50.0, valid=True)
    tried = (Probe(50.0, 0.01, valid=True), Probe(75.0, 0.2, valid=False, reasons=("slow",)))
    found = load_test.found(100.0, LIMITS, tried, {50.0: test})
    assert (found.value, found.valid, found.probes) == (50.0, True, tried)
    assert found.facts == {"latency_bound_s": "0.05", "most_rate": "100"}


def test_where_no_rate_passed_the_lowest_says_why() -> None:
    """The number is 0 and LoadGen's reason stands beside it."""
    test = LoadTest("queries_per_s", 25.0, valid=False, reasons=("Reduce target QPS.",))
    found = load_test.found(100.0, LIMITS, (Probe(25.0, 0.2, valid=False),), {25.0: test})
    assert (found.value, found.valid) == (0.0, False)
    assert found.reasons == ("At 25 queries a second: Reduce target QPS.",)


def test_where_no_rate_could_be_tried_the_flag_is_named() -> None:
    """A slow model brings too few queries for a p99 in the time."""
    found = load_test.found(10.0, LIMITS, (), {})
    assert found.reasons == (
        "A p99 needs 662 queries, which at 10 a second, the most that a single stream answers, "
        "take longer than --scenario-seconds 20: give 146 or more",
    )


# --- in children


def measured(case: Case, artifact: Artifact, tmp_path: Path, limits: Limits) -> Measurement:
    """One later block, as short as it gets."""
    effort = Effort(seconds=0.02, samples=4, logs=tmp_path / "logs")
    return load_test.run(case, 1, artifact, effort, limits)


@needs_loadgen
@pytest.mark.parametrize("scenario", ["single", "multi", "offline"])
def test_a_block_has_our_loop_and_loadgens_test(
    scenario: str, artifact: Artifact, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Both in one child, ours first; nothing is printed, nothing is left in the folder."""
    before = sorted(Path.cwd().iterdir())
    case = replace(ORT, runtime="null", threads=1, scenario=scenario)
    block = measured(case, artifact, tmp_path, LIMITS)
    assert block.status == "ok", block.reason
    assert block.latencies_ns and block.load_test is not None
    assert block.load_test.value > 0
    around = block.load_test.surroundings
    assert around is not None and around.wall_s >= LIMITS.least_s
    assert capfd.readouterr() == ("", "")
    assert sorted(Path.cwd().iterdir()) == before


@needs_loadgen
def test_a_server_block_has_every_rate_that_was_tried(built: Built, tmp_path: Path) -> None:
    """Whatever this machine is busy with: the number is the highest rate that was VALID."""
    pytest.importorskip("onnxruntime", reason="needs onnxruntime")
    small = built("revisited-v6", "fp32", "onnx")
    block = measured(replace(SERVER, threads=1), small, tmp_path, Limits(0.05, 2.0, 10.0))
    assert block.status == "ok", block.reason
    test = block.load_test
    assert test is not None
    valid = [probe.rate for probe in test.probes if probe.valid]
    assert test.value == max(valid, default=0.0)
    assert test.valid == bool(valid)
    assert all(probe.p99_s < 10 for probe in test.probes if probe.valid)
    assert test.facts["latency_bound_s"] == "10"


@needs_loadgen
def test_a_test_that_fails_keeps_what_our_loop_timed(
    artifact: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The row is failed, with LoadGen named."""
    ask = launch.Child.ask

    def dying(self: launch.Child, message: dict[str, object], limit_s: float) -> object:
        if message["do"] == "scenario":
            raise launch.ChildDied("killed by SIGKILL")
        return ask(self, message, limit_s)

    monkeypatch.setattr(launch.Child, "ask", dying)
    case = replace(ORT, runtime="null", threads=1)
    block = measured(case, artifact, tmp_path, LIMITS)
    assert (block.status, block.reason) == ("failed", "LoadGen: killed by SIGKILL")
    assert block.latencies_ns


# --- workers


def test_workers_are_started_together_and_add_up(artifact: Artifact, tmp_path: Path) -> None:
    """As many children as threads, all loaded and warm before the first measures."""
    case = replace(ORT, runtime="null", scenario="workers")
    block = measured(case, artifact, tmp_path, LIMITS)
    assert block.status == "ok", block.reason
    assert block.workers is not None
    assert block.workers.count == 2
    assert 0 <= block.workers.overlap <= 1
    assert block.workers.pss_bytes is None or block.workers.pss_bytes > 0
    assert block.surroundings is not None and block.canary is not None
    logs = {path.name for path in (tmp_path / "logs").iterdir()}
    assert {f"revisited-v6_fp32_null_t2_b1_workers-{i}.log" for i in range(2)} <= logs


def test_workers_measure_only_when_all_are_warm(
    artifact: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order of the messages: loads, warm-ups, then every measure before any answer."""
    said: list[str] = []
    tell, hear = launch.Child.tell, launch.Child.hear

    def telling(self: launch.Child, message: dict[str, object]) -> None:
        said.append(str(message["do"]))
        tell(self, message)

    def hearing(self: launch.Child, limit_s: float) -> object:
        said.append("answer")
        return hear(self, limit_s)

    monkeypatch.setattr(launch.Child, "tell", telling)
    monkeypatch.setattr(launch.Child, "hear", hearing)
    measured(replace(ORT, runtime="null", scenario="workers"), artifact, tmp_path, LIMITS)
    each = ["load", "answer"] * 2 + ["warm", "answer"] * 2
    assert said == [*each, "measure", "measure", "answer", "answer"]


def test_a_worker_that_can_not_load_is_a_reason(artifact: Artifact, tmp_path: Path) -> None:
    """What is no model is unsupported for workers as for one."""
    pytest.importorskip("onnxruntime", reason="needs onnxruntime")
    block = measured(replace(ORT, scenario="workers"), artifact, tmp_path, LIMITS)
    assert block.status == "unsupported"
    assert "not a whole .onnx file" in block.reason


@pytest.mark.parametrize(
    ("begun", "latencies", "batch", "rate", "overlap"),
    [
        # Two workers of 10 images a second each, exactly at once.
        ([0, 0], [[100_000_000] * 10] * 2, 1, 20.0, 1.0),
        ([0, 0], [[100_000_000] * 10] * 2, 4, 80.0, 1.0),
        # The second starts half a second later: the half second of both counts.
        ([0, 500_000_000], [[100_000_000] * 10] * 2, 1, 20.0, 0.5),
        # Of the slow one's only inference, the half that lies within counts.
        ([0, 0], [[100_000_000] * 5, [1_000_000_000]], 1, 11.0, 0.5),
        # They never met.
        ([0, 2_000_000_000], [[100_000_000] * 10] * 2, 1, 0.0, 0.0),
    ],
)
def test_images_count_while_all_are_at_work(
    begun: list[int], latencies: list[list[int]], batch: int, rate: float, overlap: float
) -> None:
    """Images over the time that all workers share, an inference by the part within it."""
    found = workers.together(begun, latencies, batch)
    assert found == pytest.approx((rate, overlap))


def test_pss_is_read_from_the_kernels_sum(tmp_path: Path) -> None:
    """In bytes; a kernel that has no such file cannot tell."""
    rollup = tmp_path / "smaps_rollup"
    rollup.write_text("00400000-7ffc [rollup]\nRss:  900 kB\nPss:  512 kB\nPss_Anon: 5 kB\n")
    assert workers.pss_bytes(rollup) == 512 * 1024
    assert workers.pss_bytes(tmp_path / "none") is None


def test_of_one_workers_neighbours_the_others_are_no_strangers() -> None:
    """Their CPU time is taken from what the first calls foreign; of switches the most counts."""
    first = {"wall_s": 1.0, "foreign_cpu_s": 1.3, "steal_s": 0.1}
    told = [
        {**first, "involuntary_switches": 2, "voluntary_switches": 0},
        {**first, "involuntary_switches": 7, "voluntary_switches": 0},
    ]
    found = workers.around(told, [0.9, 1.0])
    assert found.foreign_cpu_s == pytest.approx(0.3)
    assert (found.wall_s, found.steal_s, found.involuntary_switches) == (1.0, 0.1, 7)
    assert workers.around(told, [0.9, 1.5]).foreign_cpu_s == 0.0
