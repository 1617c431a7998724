"""What a real Ray cluster does where a process dies, a disk is full or a node joins late."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bench import on_host
from bench.record import current_blocks
from tests.bench import fleet_fakes, test_fleet

ray = pytest.importorskip("ray", reason="needs Ray: pip install 'deploybench[ray]'")
pytest.importorskip("torch", reason="building needs torch: pip install 'deploybench[build]'")

pytestmark = pytest.mark.cluster

head = test_fleet.head
nodes = test_fleet.nodes
fakes = test_fleet.fakes
shared = test_fleet.shared


NODE = """
import signal, sys
from ray._private.node import Node
from ray._private.parameter import RayParams
own = {"num_cpus": 1, "resources": {"host-kind:small": 1}, "node_ip_address": "127.0.0.1"}
ports = {"node_manager_port": 0, "min_worker_port": 0, "max_worker_port": 0}
there = {"gcs_address": sys.argv[1], "redis_address": sys.argv[1], "include_log_monitor": False}
params = RayParams(**own, **ports, **there, object_store_memory=150 << 20)
params.dashboard_agent_listen_port = None
node = Node(params, head=False, shutdown_at_exit=True, spawn_reaper=True)
signal.pause()
"""
"""As ``ray start`` starts one, which refuses to where nothing but the loopback is listened at."""


@pytest.mark.usefixtures("fakes")
def test_a_process_that_dies_leaves_its_only_machine(
    nodes: test_fleet.Nodes,
    shared: tuple[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Ray starts another one there; its case fails, all others are measured."""
    monkeypatch.setattr(on_host, "measure", fleet_fakes.deadly_measure)
    cluster = nodes("small")
    assert test_fleet.started(cluster, tmp_path / "out", *shared) == 1
    (run,) = test_fleet.runs(tmp_path / "out").values()
    states = {(case.split("/")[1], status) for _, case, status in test_fleet.whole(run)}
    assert states == {("fp32", "ok"), ("int8-static", "failed")}
    assert run.header.fleet is not None
    assert not run.header.fleet.lost
    assert "lives, but a process on it died" in capsys.readouterr().out


@pytest.mark.usefixtures("fakes")
def test_answers_that_kill_their_process_leave_the_only_machine(
    nodes: test_fleet.Nodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was timed is kept, with the reason; the others are asked."""
    monkeypatch.setattr(on_host, "answer", fleet_fakes.deadly_answer)
    cluster = nodes("small")
    data = ("--data", str(test_fleet._images(tmp_path / "images")))
    assert test_fleet.started(cluster, tmp_path / "out", *data) == 1
    (run,) = test_fleet.runs(tmp_path / "out").values()
    assert test_fleet.whole(run) == test_fleet.EXPECTED
    current = current_blocks(run.measurements)
    first = {str(case).split("/")[1]: own[0] for case, own in current.items() if not case.copy}
    assert first["fp32"].answers
    assert not first["int8-static"].answers
    assert "accuracy: 2 processes or machines were lost" in first["int8-static"].reason


@pytest.mark.usefixtures("fakes")
def test_a_full_disk_costs_its_machine_alone(
    nodes: test_fleet.Nodes,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The record and the end name it, and why; the other one measures all."""
    monkeypatch.setattr(on_host, "take", fleet_fakes.full_take)
    cluster = nodes("small", "small")
    assert test_fleet.started(cluster, tmp_path / "out") == 0
    (run,) = test_fleet.runs(tmp_path / "out").values()
    assert test_fleet.whole(run) == test_fleet.EXPECTED
    assert run.header.fleet is not None
    (why,) = run.header.fleet.lost.values()
    assert why.startswith("No space left on device (revisited-base")
    said = capsys.readouterr().out
    assert "is left out: No space left on device" in said
    assert "was lost: No space left on device" in said


@pytest.mark.usefixtures("fakes")
def test_a_node_that_joins_while_files_are_built_measures(
    nodes: test_fleet.Nodes,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It gets the files; what its kind has to measure is as much as ever."""
    monkeypatch.setattr(on_host, "build", fleet_fakes.waiting_build)
    cluster = nodes("small")
    with ThreadPoolExecutor() as aside:
        late_node = aside.submit(_join, cluster.address, tmp_path)
        try:
            code = test_fleet.started(cluster, tmp_path / "out")
        finally:
            late_node.result().terminate()
    assert code == 0
    (run,) = test_fleet.runs(tmp_path / "out").values()
    assert test_fleet.whole(run) == test_fleet.EXPECTED
    said = capsys.readouterr().out
    assert said.count("has joined: it measures with small") == 1
    late = tmp_path / "late" / "deploybench"
    assert list(late.glob("*.*.*")), "what was built was brought to it"


def _join(address: str, folder: Path) -> subprocess.Popen[bytes]:
    """One more node of the kind, once a file is being built: its process, which ends with it."""
    fleet_fakes.marked(folder, "building")
    started = subprocess.Popen(
        [sys.executable, "-c", NODE, address],
        env={**os.environ, "XDG_CACHE_HOME": str(folder / "late")},
        stdout=subprocess.DEVNULL,
    )
    end = time.monotonic() + 60
    while sum(node["Alive"] for node in ray.nodes()) < 3 and time.monotonic() < end:
        time.sleep(0.2)
    fleet_fakes.mark("joined", folder)
    return started
