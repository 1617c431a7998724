"""``python -m bench.dashboard`` as somebody starts it and ends it."""

from __future__ import annotations

import re
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bench.dashboard import __main__ as command
from bench.dashboard.settings import Settings
from runtimes import available
from tests.bench.dashboard.conftest import serving
from tests.bench.dashboard.test_models import stored
from tests.bench.dashboard.test_offer import needs_building
from tests.conftest import Built

httpx = pytest.importorskip("httpx", reason="needs httpx to ask the server")
for library in ("fastapi", "uvicorn", "swagger_ui_bundle"):
    pytest.importorskip(library, reason="needs the extra dashboard")
psutil = pytest.importorskip("psutil", reason="needs psutil to see processes and sockets")

LIMIT_S = 60
needs_opener = pytest.mark.skipif("ort" not in available(), reason="needs onnxruntime")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A folder with one file, which nothing opens."""
    stored(tmp_path / "store", "a")
    return tmp_path / "store"


@contextmanager
def started(*words: str) -> Iterator[subprocess.Popen[str]]:
    """The command on any free port, in a session of its own as from another terminal."""
    line = [sys.executable, "-m", "bench.dashboard", "--port", "0", *words]
    with subprocess.Popen(
        line,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def address(process: subprocess.Popen[str]) -> str:
    """What it prints first, without what follows the address."""
    assert process.stdout is not None
    readable, _, _ = select.select([process.stdout], [], [], LIMIT_S)
    assert readable, "it says nothing"
    found = re.fullmatch(r"(http://\S+:\d+) \(Ctrl-C ends it\)\n", process.stdout.readline())
    assert found is not None
    return found[1]


def healthy(place: str) -> None:
    """Wait until its models are found."""
    while not httpx.get(f"{place}/health", timeout=LIMIT_S).json()["models"]:
        time.sleep(0.05)


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Its exit code, and what it has complained of."""
    _, complaints = process.communicate(timeout=LIMIT_S)
    return process.returncode, complaints


def begun(client: Any) -> str:
    """A run of the drawn sample through all that is offered; its name."""
    picture = client.post("/api/samples/drawn").json()["id"]
    models = [model["name"] for model in client.get("/api/models").json()["models"]]
    answer = client.post("/api/runs", json={"picture": picture, "models": models})
    name: str = answer.json()["id"]
    return name


@needs_opener
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_this_machine_until_it_is_ended(store: Path, number: signal.Signals) -> None:
    """At the printed address, on no other one of this machine; ended by a signal it did well."""
    with started("--store", str(store)) as process:
        place = address(process)
        healthy(place)
        assert place.startswith("http://127.0.0.1:")
        (line,) = [
            one for one in psutil.Process(process.pid).net_connections() if one.status == "LISTEN"
        ]
        assert (line.laddr.ip, line.laddr.port) == ("127.0.0.1", int(place.rpartition(":")[2]))
        process.send_signal(number)
        assert ended(process) == (0, "")


@needs_opener
def test_a_page_that_others_reach_warns_of_it(store: Path) -> None:
    """Of what they can do, and what to put before it."""
    with started("--store", str(store), "--host", "0.0.0.0") as process:
        healthy(address(process).replace("0.0.0.0", "127.0.0.1"))
        process.send_signal(signal.SIGINT)
        code, complaints = ended(process)
    assert code == 0
    assert complaints.startswith("warning: other machines can reach this page")
    assert "a proxy that authenticates" in complaints


def test_a_taken_port_is_a_sentence(store: Path) -> None:
    """With the flag that names another one, and exit code 2."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        line = [sys.executable, "-m", "bench.dashboard", "--store", str(store), "--port", port]
        done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=LIMIT_S)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"error: --host 127.0.0.1 --port {port}: Address already in use; "
        "name another port, or 0 for any free one\n"
    )


def test_what_nothing_bounds_is_said() -> None:
    """Where the machine does not tell what is free, and where other machines reach the page."""
    assert command.warnings(Settings(most_memory_bytes=1)) == []
    (unbounded,) = command.warnings(Settings(most_models=3))
    assert "--most-models 3" in unbounded and "--most-memory" in unbounded
    assert len(command.warnings(Settings(host="0.0.0.0"))) == 2


@pytest.mark.slow
@needs_building
def test_two_interrupts_in_a_row_leave_nothing_behind(
    built: Built, store_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a model is being measured and somebody listens: no trace, no child, no folder."""
    built("revisited-base", "fp32", "onnx")
    words = ["-m", "revisited-base", "--recipes", "fp32", "--runtimes", "ort", "--runs", "1000"]
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with (
        started(*words, "--store", str(store_folder)) as process,
        httpx.Client(base_url=address(process), timeout=LIMIT_S) as client,
    ):
        healthy(str(client.base_url).rstrip("/"))
        with client.stream("GET", f"/api/runs/{begun(client)}/events") as told:
            next(line for line in told.iter_lines() if '"top":[{' in line)
            children = psutil.Process(process.pid).children(recursive=True)
            process.send_signal(signal.SIGINT)
            time.sleep(0.2)
            process.send_signal(signal.SIGINT)
            code, complaints = ended(process)
    assert code == 0
    assert "Traceback" not in complaints
    assert children
    assert not [one for one in children if one.is_running()]
    assert list(tmp_path.iterdir()) == []


def test_the_page_says_where_it_belongs(tmp_path: Path) -> None:
    """In its last lines: not on the internet, by itself."""
    with serving([], tmp_path) as place:
        text = " ".join(httpx.get(place).text.split())
    assert "it is not meant to face the internet without a proxy that authenticates" in text
