"""A run on a real Ray cluster of several nodes on this machine.

They listen on the loopback alone, and let in nobody without their token.
"""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest
from PIL import Image

from bench import choices, on_host, spread
from bench.block import Effort
from bench.case import Case
from bench.on_host import Task
from bench.options import Options
from bench.record import Answers, Measurement, Run, find_runs, read_run, write_run
from bench.run import main
from tests.bench import fleet_fakes, test_fleet_local
from tests.bench.dying import gone
from tests.bench.made_up import fake_artifact, header

pytest.importorskip("ray", reason="needs Ray: pip install 'deploybench[ray]'")
pytest.importorskip("torch", reason="building needs torch: pip install 'deploybench[build]'")

ASKED = ["-m", "revisited-base", "--recipes", "fp32,int8-static", "--runtimes", "ort"]
QUICK = ["--seconds", "0.05", "--samples", "4", "--blocks", "2", "--no-cold-start"]
QUICK += ["--idle-seconds", "0"]
TOKEN = secrets.token_hex(32)
"""Of all clusters of this process: Ray reads it once."""
HERE = {"node_ip_address": "127.0.0.1"}
Node = Any
Nodes = Callable[..., Any]

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def head() -> Iterator[Any]:
    """A cluster of nothing but a head without a CPU, which lives as long as this file's tests."""
    from ray.cluster_utils import Cluster

    from bench.cluster import ask_for_a_token, on_the_loopback

    with pytest.MonkeyPatch.context() as patch, on_the_loopback():
        patch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
        patch.setenv("RAY_AUTH_MODE", "token")
        patch.setenv("RAY_AUTH_TOKEN", TOKEN)
        ask_for_a_token()
        # That a node is gone is noticed after 2 s, where Ray takes a quarter of a minute.
        patch.setenv("RAY_health_check_period_ms", "500")
        patch.setenv("RAY_health_check_failure_threshold", "4")
        patch.setenv("RAY_health_check_timeout_ms", "2000")
        arguments = {"num_cpus": 0, "include_dashboard": False, **HERE}
        arguments["ray_client_server_port"] = _free_port()
        cluster = Cluster(initialize_head=True, head_node_args=arguments)
        yield cluster
        cluster.shutdown()


def _free_port() -> int:
    with socket.create_server((HERE["node_ip_address"], 0)) as taken:
        port: int = taken.getsockname()[1]
    return port


@pytest.fixture
def nodes(head: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Nodes]:
    """``nodes("a", "b")``: the cluster with a node of one CPU for each label.

    Each has a cache of its own, so that nothing is shared but what is sent.
    """
    monkeypatch.setenv("RAY_worker_niceness", "0")
    monkeypatch.setenv(fleet_fakes.MARKS, str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))

    def start(*labels: str) -> Any:
        for number, label in enumerate(labels):
            cache = tmp_path / f"cache{number}"
            monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
            resources = {f"host-kind:{label}": 1}
            head.add_node(num_cpus=1, resources=resources, wait=False, **HERE)
        head.wait_for_nodes()
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "driver"))
        return head

    yield start
    for node in tuple(head.worker_nodes):
        head.remove_node(node, allow_graceful=False)
    head.wait_for_nodes()


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks and peaks that cost nothing; files are built as ever."""
    for name in ("measure", "answer", "peak"):
        monkeypatch.setattr(on_host, name, getattr(fleet_fakes, name))


@pytest.fixture
def shared(store_folder: Path) -> tuple[str, str]:
    """Flags of a folder that all nodes see, for what is not about building and sending.

    The first such test builds there, the others find it.
    """
    store_folder.mkdir(exist_ok=True)
    return "--store", str(store_folder)


def started(cluster: Any, out: Path, *more: str) -> int:
    """``bench.run`` in this process."""
    words = [*ASKED, *QUICK, "--ray", cluster.address]
    return main([*words, "--out", str(out), *more])


def runs(out: Path) -> dict[str, Run]:
    """By kind."""
    found = [read_run(path) for path in find_runs(out)]
    return {run.header.fleet.kind: run for run in found if run.header.fleet}


def whole(run: Run) -> Counter[tuple[int, str, str]]:
    """How often each block was recorded, with how it ended.

    A first block is recorded once more with what its case answers to all labelled images, or with
    why it doesn't: that is no second measurement, since its latencies are the same.
    """
    found: dict[tuple[int, str, str], list[tuple[int, ...]]] = {}
    for block in run.measurements:
        taken = found.setdefault((block.round, str(block.case), block.status), [])
        if not block.latencies_ns or block.latencies_ns not in taken:
            taken.append(block.latencies_ns)
    return Counter({key: len(taken) for key, taken in found.items()})


def test_a_block_that_was_measured_twice_would_be_seen() -> None:
    """Answers that come to a first block later are no second measurement."""
    case = Case("revisited-base", "fp32", "ort", 1)
    task = Task(case, 0, fake_artifact(Path()), Effort(1.0, 1), Options(), "")
    first, second = (fleet_fakes.measure(task, lambda reference: reference) for _ in range(2))
    answered = replace(first, answers=Answers((0,), (0,)))
    key = (0, str(case), "ok")
    assert whole(Run(header(), (first, answered))) == Counter({key: 1})
    assert whole(Run(header(), (first, answered, second))) == Counter({key: 2})


EXPECTED = Counter(
    (number, f"revisited-base@cifar10/{recipe}/ort/t1/b1{copy}", "ok")
    for number in (0, 1)
    for recipe, copy in (("fp32", ""), ("int8-static", ""), ("fp32", "#again"))
)


@pytest.mark.slow
def test_two_kinds_are_measured_and_set_side_by_side(nodes: Nodes, tmp_path: Path) -> None:
    """Each with its own record, tables, and one page across them; files are built once."""
    cluster = nodes("small", "large")
    out = tmp_path / "out"
    prices = tmp_path / "prices.toml"
    prices.write_text('currency = "USD"\n[per_hour]\nsmall = 0.05\nlarge = 0.2\n')
    assert started(cluster, out, "--prices", str(prices)) == 0
    found = runs(out)
    assert sorted(found) == ["large", "small"]
    for kind, run in found.items():
        assert whole(run) == EXPECTED
        assert run.header.host["kind"] == kind
        fleet = run.header.fleet
        assert fleet is not None
        assert all(block.machine in fleet.machines for block in run.measurements)
    assert found["small"].header.host_id != found["large"].header.host_id
    (page,) = out.glob("fleet-*.md")
    assert "### USD for a million images" in page.read_text()
    folders = [
        {p.name for p in (tmp_path / f"cache{n}" / "deploybench").glob("*.*.*")} for n in (0, 1)
    ]
    assert folders[0] & folders[1], "what one machine has built was brought to the other"


def test_they_are_closed_to_others(nodes: Nodes) -> None:
    """Nothing listens but on the loopback, and who has not the token is told so."""
    cluster = nodes("small")
    parents = [
        psutil.Process(one.process.pid)
        for node in (cluster.head_node, *cluster.worker_nodes)
        for processes in node.all_processes.values()
        for one in processes
    ]
    heard = {
        place
        for parent in parents
        for one in (parent, *parent.children(recursive=True))
        for place in test_fleet_local.heard_at(one)
    }
    assert heard
    assert [place for place in heard if not test_fleet_local.loopback(place)] == []
    told = test_fleet_local.stranger(cluster.address, RAY_AUTH_TOKEN="0" * 64)
    assert "let in" not in told
    assert "token" in told


@pytest.mark.usefixtures("fakes")
@pytest.mark.parametrize("way", ["auto", "client"])
def test_a_cluster_is_found_in_other_ways_too(
    way: str, nodes: Nodes, shared: tuple[str, str], tmp_path: Path
) -> None:
    """As the one of this machine, and through its client's port, as from outside of it."""
    cluster = nodes("small")
    port = cluster.head_node._ray_params.ray_client_server_port
    address = {"auto": "auto", "client": f"ray://127.0.0.1:{port}"}[way]
    words = [*ASKED, *QUICK, "--ray", address, "--out", str(tmp_path / "out"), *shared]
    assert main(words) == 0
    (run,) = runs(tmp_path / "out").values()
    assert whole(run) == EXPECTED


def test_a_node_without_this_project_is_refused(
    nodes: Nodes,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """In a sentence that says what to install."""
    (tmp_path / "elsewhere" / "bench").mkdir(parents=True)
    (tmp_path / "elsewhere" / "bench" / "__init__.py").touch()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "elsewhere"))
    # Ray lets its workers import what stands in the driver's folder.
    monkeypatch.chdir(tmp_path)
    cluster = nodes("small")
    assert started(cluster, tmp_path / "out") == 2
    told = " ".join(capsys.readouterr().err.split())
    assert "127.0.0.1 can't be used: this project can't be imported there (" in told
    assert "No module named 'bench." in told
    assert "Traceback" not in told


@pytest.mark.slow
def test_records_are_those_of_a_run_on_one_machine(nodes: Nodes, tmp_path: Path) -> None:
    """But for the figures, and for what tells the machine."""
    cluster = nodes("small")
    assert started(cluster, tmp_path / "out") == 0
    local = [*ASKED, *QUICK, "-t", "1", "--store", str(tmp_path / "store")]
    assert main([*local, "--out", str(tmp_path / "local")]) == 0
    (fleet,) = (read_run(path) for path in find_runs(tmp_path / "out"))
    (alone,) = (read_run(path) for path in find_runs(tmp_path / "local"))
    ours, theirs = ([_shape(block) for block in run.measurements] for run in (fleet, alone))
    assert ours == theirs
    assert fleet.header.cases == alone.header.cases
    assert fleet.header.versions == alone.header.versions


def _shape(block: Measurement) -> dict[str, Any]:
    """A block without its figures: what is there, and what does not depend on the moment."""
    facts = asdict(replace(block, machine="", started="", latencies_ns=()))
    kept = ("case", "round", "status", "reason", "runtime_version", "precision", "notes")
    file = {k: v for k, v in (facts["file"] or {}).items() if not k.startswith("build_")}
    present = sorted(name for name, value in facts.items() if value is not None)
    return {**{name: facts[name] for name in kept}, "file": file, "present": present}


@pytest.mark.parametrize("phase", ["building", "taking", "measuring", "answering"])
@pytest.mark.usefixtures("fakes")
def test_a_node_that_dies_loses_nothing(
    phase: str,
    nodes: Nodes,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    """In whichever phase: what it had goes to another of its kind, and counts once."""
    slow = {"building": "build", "taking": "take", "measuring": "measure", "answering": "answer"}
    name = slow[phase]
    monkeypatch.setattr(on_host, name, getattr(fleet_fakes, f"slow_first_{name}"))
    cluster = nodes("small", "small", "small")
    more = ("--data", str(_images(tmp_path / "images"))) if phase == "answering" else ()
    if phase == "measuring":
        more = request.getfixturevalue("shared")
    killer = threading.Thread(target=_kill_marked, args=(cluster, tmp_path, phase))
    killer.start()
    code = started(cluster, tmp_path / "out", *more)
    killer.join()
    assert code == 0
    (run,) = runs(tmp_path / "out").values()
    assert whole(run) == EXPECTED
    if phase == "answering":
        answers = Counter(str(b.case) for b in run.measurements if b.answers)
        assert answers == Counter({case for _, case, _ in EXPECTED})


@pytest.mark.usefixtures("fakes")
def test_a_node_that_freezes_is_lost(
    nodes: Nodes, shared: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing on it runs any more, nothing ends, and no connection is closed."""
    monkeypatch.setattr(on_host, "measure", fleet_fakes.slow_first_measure)
    cluster = nodes("small", "small")
    frozen: list[psutil.Process] = []

    def freeze() -> None:
        raylet = psutil.Process(fleet_fakes.marked(tmp_path, "measuring"))
        frozen.extend([raylet, *raylet.children(recursive=True)])
        for process in frozen:
            process.suspend()

    freezer = threading.Thread(target=freeze)
    freezer.start()
    try:
        code = started(cluster, tmp_path / "out", *shared)
    finally:
        freezer.join()
        for process in reversed(frozen):
            process.kill()
    assert frozen
    assert code == 0
    (run,) = runs(tmp_path / "out").values()
    assert whole(run) == EXPECTED
    assert run.header.fleet is not None
    assert len(run.header.fleet.lost) == 1


def _kill_marked(cluster: Any, folder: Path, phase: str) -> None:
    """Kill the node whose worker has left the mark: the one that sleeps."""
    raylet = fleet_fakes.marked(folder, phase)
    own = cluster.worker_nodes
    (node,) = (n for n in own if n.all_processes["raylet"][0].process.pid == raylet)
    cluster.remove_node(node, allow_graceful=False)


def _images(place: Path) -> Path:
    """Ten classes as the weights name them, three images each in both parts."""
    names = ["airplane", "automobile", "bird", "cat", "deer"]
    names += ["dog", "frog", "horse", "ship", "truck"]
    for part in ("train", "test"):
        for number, name in enumerate(names):
            folder = place / part / name
            folder.mkdir(parents=True)
            for shade in range(3):
                color = (25 * number, 80 * shade, 40)
                Image.new("RGB", (32, 32), color).save(folder / f"{shade}.png")
    return place


@pytest.mark.usefixtures("fakes")
def test_a_case_that_kills_its_machines_fails_and_the_rest_goes_on(
    nodes: Nodes, shared: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not handed out for ever."""
    monkeypatch.setattr(on_host, "measure", fleet_fakes.deadly_measure)
    cluster = nodes("small", "small", "small", "small", "small")
    assert started(cluster, tmp_path / "out", *shared) == 1
    (run,) = runs(tmp_path / "out").values()
    states = {(number, case.split("/")[1], status) for number, case, status in whole(run)}
    assert {(n, "fp32", "ok") for n in (0, 1)} <= states
    assert {(n, "int8-static", "failed") for n in (0, 1)} <= states
    reasons = [b.reason for b in run.measurements if b.status == "failed"]
    assert all("machines were lost while they measured it" in reason for reason in reasons)


@pytest.mark.usefixtures("fakes")
def test_a_second_start_measures_what_is_missing(
    nodes: Nodes, shared: tuple[str, str], tmp_path: Path
) -> None:
    """A driver that died has lost nothing that was written."""
    cluster = nodes("small")
    out = tmp_path / "out"
    assert started(cluster, out, *shared) == 0
    (path,) = find_runs(out)
    run = read_run(path)
    kept = replace(run, measurements=run.measurements[:2])
    path.unlink()
    write_run(path.with_name(f"{run.header.run}.jsonl"), kept)
    assert started(cluster, out, *shared) == 0
    (again,) = runs(out).values()
    assert whole(again) == EXPECTED
    assert again.measurements[:2] == kept.measurements


DRIVER = """
import sys
from bench import on_host
from bench.run import main
from tests.bench import fleet_fakes
on_host.measure = fleet_fakes.endless_second_round
on_host.answer, on_host.peak = fleet_fakes.answer, fleet_fakes.peak
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.usefixtures("fakes")
def test_a_driver_that_is_killed_loses_nothing(
    nodes: Nodes, shared: tuple[str, str], tmp_path: Path
) -> None:
    """Nor does it hold a machine any longer: the same command goes on there, and counts once."""
    cluster = nodes("small")
    out = tmp_path / "out"
    words = [*ASKED, *QUICK, "--ray", cluster.address, "--out", str(out), *shared]
    with (
        (tmp_path / "said").open("wb") as said,
        subprocess.Popen([sys.executable, "-c", DRIVER, *words], stdout=said, stderr=said) as first,
    ):
        try:
            fleet_fakes.marked(tmp_path, "measuring")
        finally:
            os.kill(first.pid, signal.SIGKILL)
    assert gone(int((tmp_path / "worker").read_text())), "it would hold all CPUs of its node"
    (before,) = runs(out).values()
    assert len(before.measurements) == 3
    assert started(cluster, out, *shared) == 0
    (after,) = runs(out).values()
    assert whole(after) == EXPECTED
    assert after.measurements[:3] == before.measurements


@pytest.mark.usefixtures("fakes")
def test_more_threads_than_a_kind_has_are_a_row(
    nodes: Nodes, shared: tuple[str, str], tmp_path: Path
) -> None:
    """With the reason, not an error: another kind may have them."""
    cluster = nodes("small")
    assert started(cluster, tmp_path / "out", "-t", "1,8", *shared) == 0
    (run,) = runs(tmp_path / "out").values()
    reasons = {block.reason for block in run.measurements if block.case.threads == 8}
    assert reasons == {"small has 1 core to use"}


@pytest.mark.slow
def test_a_training_is_spread_and_comes_back(nodes: Nodes, tmp_path: Path) -> None:
    """A variant a task; checkpoint and log stand in the folder that was named."""
    cluster = nodes("small", "small")
    images, out = _images(tmp_path / "images"), tmp_path / "checkpoints"
    flags = ["--variants", "revisited-base,revisited-v1", "--data", str(images), "--out", str(out)]
    quick = ["--epochs", "1", "--limit", "10", "--no-compile", "--name", "tiny"]
    assert spread.main(["--ray", cluster.address, "train", *flags, *quick]) == 0
    names = {path.name for path in out.iterdir()}
    assert {f"revisited-{name}_tiny.safetensors" for name in ("base", "v1")} <= names
    assert {f"revisited-{name}_tiny.train.jsonl" for name in ("base", "v1")} <= names


@pytest.mark.slow
def test_a_search_is_spread_and_comes_back(nodes: Nodes, tmp_path: Path) -> None:
    """The choice and its log stand in the folder that was named, and a run can be given it."""
    cluster = nodes("small")
    images, out = _images(tmp_path / "images"), tmp_path / "search"
    flags = ["-m", "revisited-base", "--data", str(images), "--out", str(out)]
    quick = ["--calibration-images", "4", "--most-fp32", "0", "--max-drop", "100"]
    assert spread.main(["--ray", cluster.address, "search", *flags, *quick]) == 0
    (path,) = out.glob("*.json")
    assert path.with_suffix(".jsonl").exists()
    choice = choices.read(path)
    assert (choice.variant, choice.data, choice.met) == ("revisited-base", "images", True)
    caches = list(tmp_path.glob("cache*/deploybench/*spread-*"))
    assert not caches, "what a command had written stays nowhere else"


def test_other_versions_are_refused(
    nodes: Nodes,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Before anything is built or measured, naming the package."""
    cluster = nodes("small")
    own = dict(on_host.versions())
    monkeypatch.setattr(on_host, "versions", lambda: {**own, "onnxruntime": "1.0"})
    assert started(cluster, tmp_path / "out") == 2
    told = capsys.readouterr().err
    assert "have other versions (onnxruntime 1.0 and" in told
    assert not list((tmp_path / "out").glob("records/*"))
