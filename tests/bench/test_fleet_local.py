"""``--ray local``: a cluster of this machine alone, for one run."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest

pytest.importorskip("ray", reason="needs Ray: pip install 'deploybench[ray]'")
pytest.importorskip("torch", reason="building needs torch: pip install 'deploybench[build]'")

pytestmark = pytest.mark.cluster

ASKED = ["-m", "revisited-base", "--recipes", "fp32,int8-static", "--runtimes", "ort"]
QUICK = ["--seconds", "0.05", "--samples", "4", "--blocks", "2", "--no-cold-start"]
QUICK += ["--idle-seconds", "0"]

LOCAL = """
import ray, sys
from bench.cluster import connected
with connected("local"):
    print(ray.get_runtime_context().gcs_address, flush=True)
    sys.stdin.read()
"""
STRANGER = """
import ray, sys
ray.init(address=sys.argv[1], log_to_driver=False)
print("let in with", ray.cluster_resources())
"""


def test_a_cluster_of_this_machine_ends_with_the_run(store_folder: Path, tmp_path: Path) -> None:
    """``--ray local`` starts it and stops it; in a process of its own, as a user would."""
    words = [*ASKED, *QUICK, "--ray", "local", "--store", str(store_folder)]
    command = [sys.executable, "-m", "bench.run", *words, "--out", str(tmp_path / "out")]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        own = psutil.Process(process.pid)
        seen: set[psutil.Process] = set()
        while process.poll() is None:
            with contextlib.suppress(psutil.NoSuchProcess):
                seen |= {one for one in own.children(recursive=True) if one.name() == "raylet"}
            time.sleep(0.2)
        said = process.stdout.read() if process.stdout else ""
    assert process.returncode == 0, said
    assert "1 kind of machine" in said
    assert seen
    assert not [one for one in seen if one.is_running()]


def test_a_cluster_of_this_machine_lets_nobody_else_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It listens on the loopback alone, asks for its token, and leaves none in the home folder."""
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", LOCAL]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        own = psutil.Process(process.pid)
        heard = {place for one in (own, *own.children(recursive=True)) for place in heard_at(one)}
        without, wrong = stranger(address), stranger(address, RAY_AUTH_TOKEN="0" * 64)
        process.communicate()
    assert address.startswith("127.0.0.1:")
    assert heard
    assert [place for place in heard if not loopback(place)] == []
    for told in (without, wrong):
        assert "let in" not in told
        assert "token" in told
    assert not (tmp_path / ".ray").exists()


def loopback(place: str) -> bool:
    """Also as a socket for both versions of IP has it: ::ffff:127.0.0.1."""
    address = ipaddress.ip_address(place)
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def heard_at(process: Any) -> Iterator[str]:
    """The addresses at which a process listens."""
    with contextlib.suppress(psutil.NoSuchProcess):
        for one in process.net_connections("inet"):
            if one.status == psutil.CONN_LISTEN:
                yield one.laddr.ip


def stranger(address: str, **environment: str) -> str:
    """What somebody is told who tries to get in."""
    command = [sys.executable, "-c", STRANGER, address]
    # On this machine, and as Ray has to be told to look for anything at the loopback.
    here = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
    mode = {"RAY_AUTH_MODE": "token"} if environment else {}
    done = subprocess.run(
        command,
        env={**os.environ, **here, **mode, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr
