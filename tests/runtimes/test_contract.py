"""One contract over the whole registry: what every adapter promises."""

from __future__ import annotations

import importlib
import importlib.util
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from bench import accuracy
from export.artifact import Artifact
from export.recipes import RECIPES
from runtimes import REGISTRY, Loaded, Unsupported, adapter, available, missing

Built = Callable[[str, str, str], Artifact]
VARIANT = "revisited-v6"
BUILT_WITH = {
    ("ort", "fp32-ort-tools"): ("onnxruntime_tools", "ort-tools"),
    ("torch-eager", "int8-dynamic"): ("torchao", "torch"),
}
REAL = [name for name in REGISTRY if name != "null"]


def pairs() -> list[tuple[str, str]]:
    """Every runtime with every recipe that makes a file for it."""
    return [
        (name, recipe.name)
        for name in REAL
        for recipe in RECIPES.values()
        if set(recipe.chains) & set(REGISTRY[name].formats)
        and (recipe.runtimes is None or name in recipe.runtimes)
    ]


def skip_if_missing(name: str) -> None:
    """Say which library an environment lacks."""
    reason = missing(name)
    if reason:
        pytest.skip(f"{name}: {reason}")


def loaded(name: str, recipe: str, built: Built) -> tuple[Loaded, Artifact]:
    """A model of the small variant in a runtime, on one thread."""
    skip_if_missing(name)
    # Looked for, not imported: onnxruntime_tools hides modules of onnxruntime's own quantiser.
    needed, extra = BUILT_WITH.get((name, recipe), ("", ""))
    if needed and importlib.util.find_spec(needed) is None:
        pytest.skip(f"needs deploybench[{extra}]")
    artifact = built(VARIANT, recipe, REGISTRY[name].formats[0])
    return adapter(name).load(artifact, threads=1, precision="fp32"), artifact


def reference(artifact: Artifact, name: str) -> NDArray[np.float32]:
    """Stored parity inputs or logits of an artifact."""
    stored: NDArray[np.float32] = np.load(Path(artifact.reference) / f"{name}.npy")
    return stored


@pytest.mark.parametrize(("name", "recipe"), pairs())
def test_answers_are_those_of_the_torch_module(name: str, recipe: str, built: Built) -> None:
    """Outputs agree with the fp32 torch module within the precision's limit."""
    model, artifact = loaded(name, recipe, built)
    outputs = np.concatenate([model.run(x[None]) for x in reference(artifact, "inputs")])
    precision = RECIPES[recipe].precision
    parity = accuracy.agreement(outputs, reference(artifact, "logits"), precision)
    assert parity.passed, parity


@pytest.mark.parametrize(("name", "recipe"), pairs())
@pytest.mark.parametrize("count", [1, 3])
def test_batches_keep_shape_dtype_and_input(
    name: str, recipe: str, count: int, built: Built
) -> None:
    """(N, 3, H, W) float32 in, (N, classes) float32 out, the input unchanged, twice the same."""
    model, artifact = loaded(name, recipe, built)
    images = reference(artifact, "inputs")[:count].copy()
    before = images.copy()
    first = np.array(model.run(images))
    second = np.array(model.run(images))
    assert first.shape == (count, len(artifact.class_names))
    assert first.dtype == np.float32
    np.testing.assert_array_equal(images, before)
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("name", REAL)
def test_a_second_load_in_one_process_works(name: str, built: Built) -> None:
    """A process may hold the same model twice."""
    one, artifact = loaded(name, "fp32", built)
    two, _ = loaded(name, "fp32", built)
    images = reference(artifact, "inputs")[:1]
    np.testing.assert_array_equal(np.array(one.run(images)), np.array(two.run(images)))


@pytest.mark.parametrize("name", REAL)
def test_a_truncated_file_is_refused_with_its_name(name: str, built: Built, tmp_path: Path) -> None:
    """Half a file gives ``Unsupported`` with the path, not a crash."""
    _, artifact = loaded(name, "fp32", built)
    half = tmp_path / artifact.file
    half.write_bytes(artifact.path.read_bytes()[: artifact.size_bytes // 2])
    with pytest.raises(Unsupported, match=artifact.file):
        adapter(name).load(replace(artifact, folder=str(tmp_path)), threads=1, precision="fp32")


@pytest.mark.parametrize("name", REAL)
def test_a_precision_that_it_cannot_compute_in_is_unsupported(name: str, built: Built) -> None:
    """No runtime silently computes in something else than the row says."""
    _, artifact = loaded(name, "fp32", built)
    with pytest.raises(Unsupported, match="fp8"):
        adapter(name).load(artifact, threads=1, precision="fp8")


def test_null_fails_parity(built: Built) -> None:
    """The constant answer must not pass, or parity would prove nothing."""
    artifact = built(VARIANT, "fp32", "onnx")
    model = adapter("null").load(artifact, threads=1, precision="fp32")
    outputs = np.array(model.run(reference(artifact, "inputs")))
    assert not accuracy.agreement(outputs, reference(artifact, "logits"), "fp32").passed
    assert not accuracy.agreement(outputs, reference(artifact, "logits"), "int8").passed


@pytest.mark.parametrize("name", REGISTRY)
def test_every_row_of_the_registry_is_a_module_with_the_two_functions(name: str) -> None:
    """A row names a module that has ``version`` and ``load`` and starts no thread on import."""
    skip_if_missing(name)
    before = threading.active_count()
    module = importlib.import_module(REGISTRY[name].module)
    assert isinstance(module.version(), str)
    assert callable(module.load)
    assert threading.active_count() == before


def test_a_missing_library_is_a_reason_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not installed says how to get it."""

    def absent(distribution: str) -> str:
        raise importlib.metadata.PackageNotFoundError(distribution)

    monkeypatch.setattr(importlib.metadata, "version", absent)
    assert missing("ort") == "not installed: pip install 'deploybench[ort]'"
    assert missing("null") is None
    assert available() == ("null",)
