"""Fixtures that several folders of tests share."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import settings

from export.artifact import Artifact
from export.variants import VARIANTS

Built = Callable[[str, str, str], Artifact]
Report = TypeVar("Report", pytest.CollectReport, pytest.TestReport)

STRICT = {
    "pages": (
        "bench/dashboard/",
        "bench/report_page/",
        "bench/test_drawing.py",
        "bench/test_plots.py",
    ),
    "fleet": ("bench/test_fleet_walk.py",),
}
"""Tests below this folder that may not be skipped, by what ``DEPLOYBENCH_NO_SKIPS`` says."""


# No test fails for having taken long: this may be a busy machine.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


@pytest.fixture
def given_models_forgotten() -> Iterator[None]:
    """A model that one test gives is no variant of the next one."""
    before = set(VARIANTS)
    yield
    for name in VARIANTS.keys() - before:
        del VARIANTS[name]


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


# --- what may not be skipped


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """A whole module may be skipped for want of a package."""
    report = yield
    return _strictly(report, collector.path)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test may be, or what it starts from."""
    report = yield
    return _strictly(report, item.path)


def _strictly(report: Report, path: Path) -> Report:
    """The report; of the tests that ``DEPLOYBENCH_NO_SKIPS`` names, a skip failed.

    Whoever sets it has installed everything: what is skipped then is not tested by anybody.
    """
    ours, asked = Path(__file__).parent, os.environ.get("DEPLOYBENCH_NO_SKIPS", "")
    if not report.skipped:
        return report
    below = path.relative_to(ours).as_posix() if path.is_relative_to(ours) else ""
    if below.startswith(STRICT.get(asked, ())) and not hasattr(report, "wasxfail"):
        why = report.longrepr[-1] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"{below} must not be skipped (DEPLOYBENCH_NO_SKIPS={asked}): {why}"
    return report
