"""One contract over the whole registry: what every adapter promises.

Adapters run in children (``contract.py``), as they do when they are measured.
"""

from __future__ import annotations

import base64
import functools
import importlib.metadata
import io
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from bench import accuracy
from bench.case import Case, file_format, unsupported
from bench.host import usable_cores
from bench.launch import Child, ChildDied, Setting
from bench.rows import LEAST_CORES, MOST_CORES
from export.artifact import Artifact, artifact_adapter
from export.recipes import RECIPES
from runtimes import REGISTRY, adapter, available, missing

Built = Callable[[str, str, str], Artifact]
VARIANT = "revisited-v6"
REAL = [name for name in REGISTRY if name != "null"]
KNOWN_WRONG = {
    (
        "mnn",
        "int8-static",
    ): "MNN 3.6.1's quantiser answers all images alike under EMA, and KL crashes"
}
"""Rows that are built and measured, and marked in every table: their parity fails."""
KNOWN_UNSUPPORTED = {
    ("opencv", "int8-dynamic", "fp32"): "opencv cannot r",
}
"""(runtime, recipe, precision) -> a part of its reason. Anything else has to work."""
NOT_HERE = ("low-rank",)
"""Recipes by which this variant gains nothing: it has one small fully connected layer."""
AGAIN = "revisited-v6/fp32/torch-inductor+bf16/t1/b1"
"""Compiled for a minute, it says what torch-inductor says in fp32 and torch-eager in bf16."""
PROGRAM = Path(__file__).with_name("contract.py")
ROOT = Path(__file__).parents[2]
TRIES = 8


def cases() -> list[Case]:
    """Every runtime with every recipe and precision that makes a file for it."""
    found = []
    for name in REAL:
        for recipe in (row for row in RECIPES.values() if row.name not in NOT_HERE):
            only = recipe.runtimes is None or name in recipe.runtimes
            if only and set(recipe.chains) & set(REGISTRY[name].formats):
                free = recipe.precision == "fp32"
                for precision in REGISTRY[name].precisions if free else ("fp32",):
                    found.append(Case(VARIANT, recipe.name, name, 1, precision=precision))
    return found


def marked(wanted: Iterable[Case]) -> list[Any]:
    """As parameters: what is compiled for minutes of CI's time to say what fp32 says is `long`."""
    return [
        pytest.param(case, marks=[pytest.mark.long] if str(case) == AGAIN else [], id=str(case))
        for case in wanted
    ]


def artifact_of(case: Case, built: Built) -> Artifact:
    """Its file, or a skip that says what is not installed."""
    reason = unsupported(case)
    if reason:
        pytest.skip(reason)
    return built(case.variant, case.recipe, file_format(case) or "")


def ask(do: str, case: Case, artifact: Artifact, **more: Any) -> dict[str, Any]:
    """What the child says."""
    request = {
        "do": do,
        "runtime": case.runtime,
        "precision": case.precision,
        "artifact": artifact_adapter().dump_python(artifact, mode="json"),
        **more,
    }
    reader, writer = os.pipe()
    with tempfile.TemporaryDirectory() as home:
        # Under CI some libraries are on their best behaviour.
        ours = {name: value for name, value in os.environ.items() if name != "CI"}
        done = subprocess.run(
            [sys.executable, str(PROGRAM), json.dumps(request), str(writer)],
            capture_output=True,
            text=True,
            check=False,
            pass_fds=(writer,),
            env=ours | {"PYTHONPATH": str(ROOT), "HOME": home, "XDG_CACHE_HOME": home},
            timeout=300,
        )
        left = sorted(str(path.relative_to(home)) for path in Path(home).rglob("*"))
    os.close(writer)
    with os.fdopen(reader) as source:
        text = source.read()
    assert done.returncode == 0, f"exit {done.returncode}: {done.stderr[-2000:]}"
    answer: dict[str, Any] = json.loads(text)
    return {**answer, "left_at_home": left}


@pytest.fixture(scope="session")
def told(built: Built) -> Callable[[Case, int], tuple[dict[str, Any], Artifact]]:
    """What a case answers at a batch size; all sizes are asked at once, once a session."""

    @functools.cache
    def asked(case: Case) -> tuple[dict[str, Any], Artifact]:
        artifact = artifact_of(case, built)
        return ask("load", case, artifact, batch_sizes=[1, 3]), artifact

    def tell(case: Case, size: int) -> tuple[dict[str, Any], Artifact]:
        answers, artifact = asked(case)
        return {**answers[str(size)], "left_at_home": answers["left_at_home"]}, artifact

    return tell


Told = Callable[[Case, int], tuple[dict[str, Any], Artifact]]


def unpacked(text: str) -> NDArray[np.float32]:
    """The outputs in an answer."""
    array: NDArray[np.float32] = np.load(io.BytesIO(base64.b64decode(text)))
    return array


def logits(artifact: Artifact) -> NDArray[np.float32]:
    """What the fp32 torch module answers to the parity images."""
    stored: NDArray[np.float32] = np.load(Path(artifact.reference) / "logits.npy")
    return stored


def supported(case: Case, told: Told, size: int = 1) -> tuple[dict[str, Any], Artifact]:
    """The answer; of what is known not to work, a skip with its reason, and the reason alone."""
    answer, artifact = told(case, size)
    known = KNOWN_UNSUPPORTED.get((case.runtime, case.recipe, case.precision))
    if known is None:
        assert "unsupported" not in answer, answer["unsupported"]
        return answer, artifact
    assert known in answer.get("unsupported", "it works by now: take it off the list")
    pytest.skip(answer["unsupported"])


@pytest.mark.parametrize("case", marked(cases()))
def test_answers_are_those_of_the_torch_module(
    case: Case, told: Told, request: pytest.FixtureRequest
) -> None:
    """Outputs agree with the fp32 torch module within the precision's limit."""
    if (case.runtime, case.recipe) in KNOWN_WRONG:
        reason = KNOWN_WRONG[case.runtime, case.recipe]
        request.applymarker(pytest.mark.xfail(reason=reason, strict=True))
    answer, artifact = supported(case, told)
    judged = accuracy.parity_limit(case)
    parity = accuracy.agreement(unpacked(answer["outputs"]), logits(artifact), judged)
    assert parity.passed, parity


@pytest.mark.parametrize(
    "case", marked(c for c in cases() if c.precision != "fp32" or c.recipe == "fp16-weights")
)
def test_another_precision_is_another_computation(case: Case, told: Told) -> None:
    """A row that says bf16 or fp16 is off by more than fp32 is, five times at the least."""
    answer, artifact = supported(case, told)
    parity = accuracy.agreement(unpacked(answer["outputs"]), logits(artifact), "fp32")
    assert parity.max_error > accuracy.LIMITS["fp32"].max_error / 10
    plain, _ = supported(replace(case, recipe="fp32", precision="fp32"), told)
    exact = accuracy.agreement(unpacked(plain["outputs"]), logits(artifact), "fp32")
    assert parity.max_error > 5 * exact.max_error
    assert answer["precision"] == case.precision


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("case", marked(cases()))
def test_batches_keep_shape_dtype_and_input(case: Case, size: int, told: Told) -> None:
    """(N, 3, H, W) float32 in, (N, classes) float32 out, the input unchanged, twice the same."""
    artifact = told(case, 1)[1]
    if size > 1 and artifact.fixes.get("batch") == "1":
        assert "one image" in told(case, size)[0]["unsupported"]
        return
    answer, artifact = supported(case, told, size)
    assert answer["shapes"] == [[size, len(artifact.class_names)]]
    assert answer["dtype"] == "float32"
    assert answer["input_unchanged"]
    assert answer["repeats"]


@pytest.mark.parametrize("case", marked(c for c in cases() if c.recipe == "fp32"))
def test_a_second_load_in_one_process_works(case: Case, told: Told) -> None:
    """A process may hold the same model twice, with the same answers."""
    answer, _ = supported(case, told)
    np.testing.assert_array_equal(unpacked(answer["second_load"]), unpacked(answer["outputs"]))


@pytest.mark.parametrize("case", marked(c for c in cases() if c.recipe == "fp32"))
def test_nothing_is_left_in_the_users_home(case: Case, told: Told) -> None:
    """No library keeps a device id, a queue of reports or a cache of somebody's model."""
    answer, _ = supported(case, told)
    assert answer["left_at_home"] == []


@pytest.mark.alone
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", REAL)
def test_as_many_cores_work_as_threads_were_set(name: str, threads: int, built: Built) -> None:
    """CPU seconds over wall seconds; several tries, because a neighbour can disturb some."""
    case = Case(VARIANT, "fp32", name, threads)
    if threads > usable_cores():
        pytest.skip(f"{threads} threads need as many cores")
    if 0 < REGISTRY[name].most_threads < threads:
        assert "thread" in str(unsupported(case))
        return
    artifact = artifact_of(case, built)
    tries: list[float] = []
    while len(tries) < TRIES:
        tries.append(ask("cores", case, artifact, threads=threads)["cores"])
        if LEAST_CORES * threads <= tries[-1] <= MOST_CORES * threads:
            return
    pytest.fail(f"{name} kept {tries} cores busy where {threads} threads were set")


def asked_of_the_worker(
    artifact: Artifact, runtime: str, log: Path, precision: str = "fp32"
) -> dict[str, Any]:
    """What the measuring child answers to ``load``; its death is an answer."""
    message = {
        "do": "load",
        "runtime": runtime,
        "artifact": artifact_adapter().dump_python(artifact, mode="json"),
        "threads": 1,
        "precision": precision,
        "batch_size": 1,
        "inputs": str(Path(artifact.reference) / "inputs.npy"),
    }
    try:
        with Child(Setting(1), log) as child:
            return child.ask(message, 120)
    except ChildDied as exc:
        return {"status": "died", "reason": str(exc)}


@pytest.mark.parametrize("name", REAL)
def test_nothing_that_a_library_prints_reaches_us(
    name: str, built: Built, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The child's descriptors 1 and 2 are its log before the library is imported."""
    artifact = artifact_of(Case(VARIANT, "fp32", name, 1), built)
    capfd.readouterr()
    assert asked_of_the_worker(artifact, name, tmp_path / "log")["status"] == "ok"
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", REAL)
def test_a_truncated_file_is_refused_with_its_name(name: str, built: Built, tmp_path: Path) -> None:
    """Half a file is ``unsupported`` with its path, or costs the child its life; never a number."""
    artifact = artifact_of(Case(VARIANT, "fp32", name, 1), built)
    for file in Path(artifact.folder).iterdir():
        whole = file.read_bytes()
        (tmp_path / file.name).write_bytes(whole[: len(whole) // 2])
    answer = asked_of_the_worker(replace(artifact, folder=str(tmp_path)), name, tmp_path / "log")
    assert answer["status"] in ("unsupported", "died"), answer
    assert artifact.file in answer["reason"] or answer["status"] == "died"


@pytest.mark.parametrize("name", REAL)
def test_another_runtimes_file_is_refused(name: str, built: Built, tmp_path: Path) -> None:
    """A file of another kind under the right name is no model."""
    artifact = artifact_of(Case(VARIANT, "fp32", name, 1), built)
    (tmp_path / artifact.file).write_bytes(b"not a model at all" * 100)
    answer = asked_of_the_worker(replace(artifact, folder=str(tmp_path)), name, tmp_path / "log")
    assert answer["status"] in ("unsupported", "died"), answer


@pytest.mark.parametrize("name", REAL)
def test_a_whole_file_of_another_format_is_refused(name: str, built: Built, tmp_path: Path) -> None:
    """A good .onnx file for those that open something else, a good .pt2 for the others."""
    formats = REGISTRY[name].formats
    other = built(VARIANT, "fp32", "pt2" if "onnx" in formats else "onnx")
    answer = asked_of_the_worker(other, name, tmp_path / "log")
    assert answer["status"] in ("unsupported", "died"), answer


@pytest.mark.parametrize("name", REAL)
def test_nothing_is_left_in_the_temporary_folder(
    name: str, built: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a library unpacks there goes with the child, which ends at once."""
    artifact = artifact_of(Case(VARIANT, "fp32", name, 1), built)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    assert asked_of_the_worker(artifact, name, tmp_path / "log")["status"] == "ok"
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize("name", REAL)
def test_a_precision_that_it_cannot_compute_in_is_unsupported(
    name: str, built: Built, tmp_path: Path
) -> None:
    """No runtime silently computes in something else than the row says."""
    artifact = artifact_of(Case(VARIANT, "fp32", name, 1), built)
    answer = asked_of_the_worker(artifact, name, tmp_path / "log", precision="fp8")
    assert answer["status"] == "unsupported"
    assert "fp8" in answer["reason"]


def test_null_fails_parity(built: Built) -> None:
    """The constant answer must not pass, or parity would prove nothing."""
    artifact = built(VARIANT, "fp32", "onnx")
    model = adapter("null").load(artifact, threads=1, precision="fp32", batch_size=1)
    outputs = np.array(model.run(np.load(Path(artifact.reference) / "inputs.npy")))
    assert not accuracy.agreement(outputs, logits(artifact), "fp32").passed
    assert not accuracy.agreement(outputs, logits(artifact), "int8").passed


def test_a_missing_library_is_a_reason_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not installed says how to get it."""

    def absent(distribution: str) -> str:
        raise importlib.metadata.PackageNotFoundError(distribution)

    monkeypatch.setattr(importlib.metadata, "version", absent)
    assert missing("ort") == "not installed: pip install 'deploybench[ort]'"
    assert missing("null") is None
    assert available() == ("null",)
