"""What the regression checks need: small artifacts, and this host's baseline."""

from __future__ import annotations

import functools
import importlib.util
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from bench import host
from export.artifact import Artifact, default_store
from export.build import Options, Wanted
from export.run import Event, Request, serve
from runtimes import REGISTRY

SMALL = "revisited-v6"
"""The variant of the contract test as well: in a plain run its files stand already."""
FILES = (
    ("fp32", "torch-eager"),
    ("fp32", "ort"),
    ("fp32-opt", "ort"),
    ("int8-dynamic", "ort"),
    ("int8-static", "ort"),
)

Key = tuple[str, str, str]
COMPARED = pytest.StashKey[str]()


@pytest.fixture(scope="session")
def small_artifacts(pytestconfig: pytest.Config, store_folder: Path) -> dict[Key, Artifact]:
    """(variant, recipe, runtime) -> its file, of a model that answers within two milliseconds.

    A comparison takes them from the user's store, so that it builds nothing twice.
    """
    if importlib.util.find_spec("torch") is None:
        pytest.skip("building needs torch: pip install 'deploybench[build]'")
    keys = [(SMALL, recipe, runtime) for recipe, runtime in FILES]
    wanted = tuple(Wanted(key[0], key[1], REGISTRY[key[2]].formats[0]) for key in keys)
    store = default_store() if pytestconfig.getoption("benchmark_enable") else store_folder
    events: list[Event] = []
    failed = serve(Request(str(store), Options(), wanted), events.append)
    assert not failed, [event.text for event in events if event.kind == "failed"]
    built = {event.wanted: event.artifact for event in events if event.artifact is not None}
    return {key: built[item] for key, item in zip(keys, wanted, strict=True)}


@pytest.fixture(scope="session")
def baseline(pytestconfig: pytest.Config) -> Mapping[str, list[float]]:
    """Test -> its ratios in the first run saved on this host; empty before there is one."""
    storage = str(pytestconfig.getoption("benchmark_storage")).removeprefix("file://")
    saved = sorted((pytestconfig.rootpath / storage).glob("*/*.json"))
    found = first_ratios((json.loads(file.read_bytes()) for file in saved), this_host())
    pytestconfig.stash[COMPARED] = f"compared with the first run of this host in {storage}"
    if not found:
        pytestconfig.stash[COMPARED] = "no baseline of this host: this run becomes it, if saved"
    return found


@pytest.fixture
def first_saved_ratios() -> Callable[..., Mapping[str, list[float]]]:
    """:func:`first_ratios`, for its own test."""
    return first_ratios


def first_ratios(runs: Iterable[Mapping[str, Any]], host_id: str) -> Mapping[str, list[float]]:
    """Test -> ratios of the first of pytest-benchmark's ``runs`` that has it, of one host.

    The first and not the last: otherwise a slow drift would be its own baseline.
    """
    found: dict[str, list[float]] = {}
    for run in runs:
        if run["machine_info"].get("host_id") == host_id:
            for row in run["benchmarks"]:
                found.setdefault(row["fullname"], row["extra_info"].get("ratios", []))
    return {name: ratios for name, ratios in found.items() if ratios}


@functools.cache
def this_host() -> str:
    """CPU, instruction sets, cores and memory as one word."""
    return host.host_id(host.describe())


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Say what the ratios were compared with, where they were."""
    if config.getoption("benchmark_enable") and COMPARED in config.stash:
        terminalreporter.write_line(config.stash[COMPARED])


def pytest_benchmark_update_machine_info(machine_info: dict[str, Any]) -> None:
    """Write beside each saved run which kind of host it is of."""
    machine_info["host_id"] = this_host()
