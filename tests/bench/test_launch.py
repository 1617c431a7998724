"""Children: fresh processes that are measured, and every way in which they can end."""

from __future__ import annotations

import base64
import io
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from bench import launch, worker
from bench.block import Effort, run_block
from bench.case import Case
from export.artifact import Artifact, artifact_adapter
from runtimes import Loaded


def case(runtime: str, **more: object) -> Case:
    """A case of the smallest variant."""
    return Case("revisited-base", "fp32", runtime, threads=1, **more)  # type: ignore[arg-type]


def effort(tmp_path: Path, memory_bytes: int = 0) -> Effort:
    """As little measuring as possible."""
    return Effort(seconds=0.01, samples=1, memory_bytes=memory_bytes, logs=tmp_path / "logs")


def test_a_block_of_the_null_runtime_has_every_number(artifact: Artifact, tmp_path: Path) -> None:
    """One block fills all fields; the constant answer fails parity."""
    block = run_block(case("null"), 0, artifact, effort(tmp_path))
    assert block.status == "ok", block.reason
    assert 1 <= len(block.latencies_ns) <= 1000
    assert block.memory is not None and block.memory.peak_bytes >= block.memory.imported_bytes
    assert block.surroundings is not None and block.surroundings.wall_s > 0
    assert block.warmup_s >= 0.5
    assert block.parity is not None and not block.parity.passed
    assert block.canary is not None and block.canary.before_s > 0 and block.canary.after_s > 0
    assert block.block_s is not None and block.block_s > block.warmup_s
    assert block.idle_cpu_s is None and block.cold is None  # unless asked for


def test_the_leaves_of_a_cold_start_sum_to_the_whole(artifact: Artifact, tmp_path: Path) -> None:
    """Import, read, load and first inference leave nothing out: the whole is read by itself."""
    block = run_block(case("null"), 0, artifact, effort(tmp_path))
    assert block.read_s is not None and block.cold_start_s is not None
    leaves = block.import_s + block.read_s + block.load_s + block.first_s
    assert leaves == pytest.approx(block.cold_start_s, rel=1e-6)


def test_the_clocks_agree_about_the_timed_loop(artifact: Artifact, tmp_path: Path) -> None:
    """The wall's clock and the one that counts suspends stand beside the monotonic one."""
    around = run_block(case("null"), 1, artifact, effort(tmp_path)).surroundings
    assert around is not None
    assert around.realtime_s == pytest.approx(around.wall_s, abs=0.05)
    assert around.boottime_s == pytest.approx(around.wall_s, abs=0.05)


def test_the_first_block_tells_what_idling_and_a_cold_cache_cost(
    artifact: Artifact, tmp_path: Path
) -> None:
    """Both are asked for by the effort, and taken once for each case."""
    asked = replace(effort(tmp_path), idle_s=0.01, cold=True)
    first = run_block(case("null"), 0, artifact, asked)
    assert first.idle_cpu_s is not None and first.idle_cpu_s >= 0
    assert first.cold is not None
    leaves = first.cold.import_s + first.cold.read_s + first.cold.load_s + first.cold.first_s
    assert leaves == pytest.approx(first.cold.total_s, rel=1e-6)
    later = run_block(case("null"), 1, artifact, asked)
    assert later.idle_cpu_s is None and later.cold is None


@pytest.mark.parametrize(
    ("samples", "batch_size", "least"),
    [(12, 1, 12), (12, 2, 6), (12, 8, 4), (123, 8, 16), (1, 8, 1)],
)
def test_large_batches_need_fewer_inferences(samples: int, batch_size: int, least: int) -> None:
    """A batch counts as its images; four batches are the least, unless fewer were asked for."""
    assert Effort(seconds=1, samples=samples).inferences(batch_size) == least


def test_parity_is_taken_in_the_first_round_only(artifact: Artifact, tmp_path: Path) -> None:
    """Later blocks don't spend time on what the first has shown."""
    assert run_block(case("null"), 1, artifact, effort(tmp_path)).parity is None


def test_parity_is_of_all_images_wherever_they_were_answered(tmp_path: Path) -> None:
    """The warm-up's answers are kept, the rest is asked for: each image once, in order."""
    images = np.arange(5 * 3 * 2 * 2, dtype=np.float32).reshape(5, 3, 2, 2)
    np.save(tmp_path / "inputs.npy", images)
    seen: list[int] = []

    def run(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        seen.append(len(batch))
        time.sleep(0.05)
        return np.asarray(batch.sum(axis=(1, 2, 3))[:, None])

    session = worker.Session()
    session.loaded, session.inputs = Loaded(run, "fp32", {}), str(tmp_path / "inputs.npy")
    session.batches = worker.batches(images, 1)
    session.answers = [run(session.batches[0])]  # by the cold start
    session.warm({})
    session.answers = session.answers[:3]  # as if the warm-up had been shorter
    warm = len(seen)
    answer = session.infer({"inputs": session.inputs})
    outputs = np.load(io.BytesIO(base64.b64decode(answer["outputs"])))
    np.testing.assert_array_equal(outputs[:, 0], images.sum(axis=(1, 2, 3)))
    assert len(seen) == warm + 2


def test_a_foreign_file_is_unsupported_and_the_parent_unharmed(
    artifact: Artifact, tmp_path: Path
) -> None:
    """What is no .onnx file gives a reason, not a crash."""
    pytest.importorskip("onnxruntime", reason="needs onnxruntime")
    block = run_block(case("ort"), 0, artifact, effort(tmp_path))
    assert block.status == "unsupported"
    assert "not a whole .onnx file" in block.reason


def test_a_child_that_is_killed_is_a_failed_row(
    artifact: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signal becomes the reason; the kernel's out-of-memory killer is named as a guess."""
    ask = launch.Child.ask

    def ask_and_kill(self: launch.Child, message: dict[str, object], limit_s: float) -> object:
        if message["do"] == "measure":
            os.kill(self._process.pid, signal.SIGKILL)
        return ask(self, message, limit_s)

    monkeypatch.setattr(launch.Child, "ask", ask_and_kill)
    block = run_block(case("null"), 0, artifact, effort(tmp_path))
    assert block.status == "failed"
    assert block.reason == "killed by SIGKILL (out of memory?) during measure"


def test_a_memory_limit_is_a_reason(artifact: Artifact, tmp_path: Path) -> None:
    """A child over its limit fails; it takes nobody with it."""
    inputs = np.ones((4, 3, 8, 8), np.float32)
    np.save(Path(artifact.reference) / "inputs.npy", np.tile(inputs, (1, 1, 400, 400)))
    block = run_block(case("null"), 0, artifact, effort(tmp_path, memory_bytes=500_000_000))
    assert block.status == "failed"
    assert "out of memory" in block.reason


def test_a_silent_child_is_given_up(tmp_path: Path) -> None:
    """No answer within the limit ends the child and says so."""
    with launch.Child(launch.Setting(1), tmp_path / "log") as child:
        os.kill(child._process.pid, signal.SIGSTOP)
        with pytest.raises(launch.ChildDied, match="no answer to warm within 0 s"):
            child.ask({"do": "warm"}, 0.05)
        os.kill(child._process.pid, signal.SIGCONT)


def test_nothing_that_a_child_prints_reaches_us(
    artifact: Artifact, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The libraries' chatter goes to the child's log."""
    log = tmp_path / "log"
    with launch.Child(launch.Setting(1), log) as child:
        # Nothing is loaded yet: the child prints a traceback.
        assert child.ask({"do": "warm"}, 60)["status"] == "failed"
    assert capfd.readouterr() == ("", "")
    assert "Traceback" in log.read_text()


def test_thread_variables_are_set_for_the_child(tmp_path: Path) -> None:
    """Thread pools that read the environment see the case's number."""
    assert "OMP_NUM_THREADS" in launch.THREAD_VARIABLES
    with launch.Child(launch.Setting(2), tmp_path / "log") as child:
        # Its answer shows that it has started: before, /proc still shows our own environment.
        assert child.ask({"do": "warm"}, 60)["status"] == "failed"
        environment = Path(f"/proc/{child._process.pid}/environ").read_bytes().split(b"\0")
        assert b"OMP_NUM_THREADS=2" in environment


def test_batches_are_contiguous_and_the_last_wraps() -> None:
    """Every image is used and each batch is full."""
    images = np.arange(5 * 3, dtype=np.float32).reshape(5, 3, 1, 1)
    made = worker.batches(images, 2)
    assert [batch[:, 0, 0, 0].tolist() for batch in made] == [[0, 3], [6, 9], [12, 0]]
    assert all(batch.flags.c_contiguous for batch in made)


def test_the_parent_imports_no_runtime() -> None:
    """bench.run stays small: none of the heavy libraries, not even indirectly."""
    heavy = "torch onnx onnxruntime openvino sklearn matplotlib".split()
    code = (
        "import sys, bench.run, bench.worker\n"
        f"print([m for m in {heavy} if m in sys.modules])\n"
        "print(bench.worker.memory_bytes('VmHWM'))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules, peak_bytes = done.stdout.splitlines()
    assert modules == "[]"
    assert int(peak_bytes) < 250e6


def test_memory_is_told_by_what_stands_behind_it() -> None:
    """Anonymous and file-backed pages are all that is resident; some of these are shareable."""
    found = worker.memory()
    numbers = {name: value for name, value in found.items() if value is not None}
    assert len(numbers) == len(found)
    parts = numbers["anonymous_bytes"] + numbers["file_bytes"]
    assert parts == pytest.approx(numbers["steady_bytes"], rel=0.02)
    assert 0 < numbers["shareable_bytes"] <= numbers["file_bytes"] * 1.02


# Any other process that begins or ceases to map the same libraries changes everyone's share.
@pytest.mark.alone
def test_a_second_worker_pays_for_what_is_not_shareable(artifact: Artifact, tmp_path: Path) -> None:
    """What PSS grows by in all, ours included, is steady bytes less the shareable ones."""
    message = {"do": "load", "runtime": "null", "precision": "fp32", "batch_size": 1, "threads": 1}
    message |= {"artifact": artifact_adapter().dump_python(artifact, mode="json")}
    message |= {"inputs": str(Path(artifact.reference) / "inputs.npy")}

    def pss_bytes(*children: launch.Child) -> int:
        # This process maps the same libraries and has its share of their pages, too.
        places = [Path(f"/proc/{pid}/smaps_rollup") for pid in ("self", *(c.pid for c in children))]
        lines = [line.split() for place in places for line in place.read_text().splitlines()]
        return sum(int(line[1]) * 1024 for line in lines if line[0] == "Pss:")

    measure = {"do": "measure", "seconds": 0.01, "least": 1, "idle_s": 0}
    with launch.Child(launch.Setting(1), tmp_path / "one") as one:
        assert one.ask(message, 60)["status"] == "ok"
        alone = pss_bytes(one)
        told = one.ask(measure, 60)["memory"]
        with launch.Child(launch.Setting(1), tmp_path / "two") as two:
            assert two.ask(message, 60)["status"] == "ok"
            second = pss_bytes(one, two) - alone
    assert second == pytest.approx(told["steady_bytes"] - told["shareable_bytes"], rel=0.15)


def test_the_measuring_child_starts_light() -> None:
    """Every block pays for its imports: numpy, and nothing that checks, counts or draws."""
    heavy = "pydantic scipy rich tabulate PIL".split()
    code = f"import sys, bench.worker\nprint([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
