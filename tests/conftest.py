"""Fixtures that several folders of tests share."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

from export.artifact import Artifact

Built = Callable[[str, str, str], Artifact]

# No test fails for having taken long: this may be a busy machine.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


@pytest.fixture(scope="session")
def store_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One store for the whole session: what one test built, the next one finds.

    The workers of pytest-xdist share it, each of whose own folders lie in one of the session's;
    sessions share it where ``DEPLOYBENCH_TEST_STORE`` names one.
    """
    if named := os.environ.get("DEPLOYBENCH_TEST_STORE"):
        return Path(named)
    if "PYTEST_XDIST_WORKER" in os.environ:
        return tmp_path_factory.getbasetemp().parent / "store"
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="session")
def built(store_folder: Path) -> Built:
    """``built(variant, recipe, format)``: that artifact, built by the real chain."""
    if importlib.util.find_spec("torch") is None:
        pytest.skip("building needs torch: pip install 'deploybench[build]'")
    from export.build import Options, Wanted
    from export.run import Event, Request, serve

    def build(variant: str, recipe: str, format: str) -> Artifact:
        events: list[Event] = []
        wanted = (Wanted(variant, recipe, format),)
        serve(Request(str(store_folder), Options(), wanted), events.append)
        last = events[-1]
        assert last.artifact is not None, f"{variant}/{recipe}: {last.text}"
        return last.artifact

    return build
