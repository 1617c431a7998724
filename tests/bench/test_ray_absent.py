"""Without a cluster, and without Ray."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.run import main


def test_no_cluster_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With what to do."""
    pytest.importorskip("ray", reason="needs Ray: pip install 'deploybench[ray]'")
    places = ["--out", str(tmp_path), "--store", str(tmp_path)]
    words = ["-m", "revisited-base", "--ray", "127.0.0.1:1", *places]
    assert main(words) == 2
    assert "--ray 127.0.0.1:1: no cluster answers there" in capsys.readouterr().err


def test_without_ray_nothing_of_it_is_imported() -> None:
    """Nor by a module that a run imports."""
    code = "import sys, bench.run, bench.report; print('ray' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ
    )
    assert done.stdout.strip() == "False"
