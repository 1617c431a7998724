"""What is told where there is no cluster, no Ray, or another one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.options import UsageError
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


@pytest.mark.parametrize("address", ["auto", "ray://127.0.0.1:10001"])
def test_another_ray_or_python_is_told_with_both_versions(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In Ray's own words, of which the versions are in the later lines; and what to do."""
    ray = pytest.importorskip("ray", reason="needs Ray: pip install 'deploybench[ray]'")
    from ray._private.utils import check_version_info

    from bench import cluster

    def init(**_: object) -> None:
        check_version_info({"ray_version": "2.52.0", "python_version": "3.12.1"}, "this node")

    monkeypatch.setenv("RAY_worker_niceness", "0")
    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(cluster, "_check_answers", lambda address: None)
    with pytest.raises(UsageError) as caught, cluster.connected(address):
        pass
    told = str(caught.value)
    assert f"--ray {address}: the cluster has another Ray or Python" in told
    assert "started with: Ray: 2.52.0 Python: 3.12.1" in told
    own = ".".join(map(str, sys.version_info[:3]))
    assert f"started with: Ray: {ray.__version__} Python: {own}" in told
    assert "pip install -c constraints.txt" in told
    assert "\n" not in told
    assert "no cluster answers" not in told
