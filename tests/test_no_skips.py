"""Where everything is installed no test of a page may be skipped."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
WITHOUT = """
import sys
for name in sys.argv[1].split(","):
    sys.modules[name] = None
import pytest
sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-rs", *sys.argv[2:]]))
"""
OF_A_PAGE = "tests/bench/dashboard/test_app.py::test_a_cookie_is_for_this_site_and_for_no_script"
OF_PLOTS = "tests/bench/test_drawing.py"
OF_ANOTHER = "tests/bench/method/test_roofline.py"


def tried(absent: str, *tests: str, strict: str) -> tuple[int, str]:
    """Exit code and output of these tests where packages are missing."""
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, absent, *tests],
        cwd=ROOT,
        env={**os.environ, "DEPLOYBENCH_NO_SKIPS": strict, "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(("absent", "test"), [("uvicorn", OF_A_PAGE), ("matplotlib", OF_PLOTS)])
def test_a_test_of_a_page_fails_where_it_would_be_skipped(absent: str, test: str) -> None:
    """Be it for its fixture or as a whole module; unless nobody asks for that."""
    pytest.importorskip("fastapi", reason="needs the extra dashboard")
    code, said = tried(absent, test, strict="pages")
    assert code not in (0, 5), said
    assert "must not be skipped (DEPLOYBENCH_NO_SKIPS=pages)" in said
    code, said = tried(absent, test, strict="")
    assert code in (0, 5), said
    assert "must not be skipped" not in said


def test_other_tests_are_skipped_as_before() -> None:
    """What needs a library that cannot be installed everywhere, say."""
    code, said = tried("matplotlib", OF_ANOTHER, strict="pages")
    assert code == 0, said
    assert "skipped" in said
