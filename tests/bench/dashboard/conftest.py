"""Models without a network, pictures of one colour, and a server that serves them."""

from __future__ import annotations

import io
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench import validity
from bench.case import Case
from bench.dashboard.models import Model
from bench.dashboard.settings import Settings
from export.artifact import Artifact
from export.images import Preprocess
from tests.bench.dashboard import fake_worker
from tests.bench.made_up import fake_artifact

ModelOf = Callable[..., Model]
Colour = tuple[int, int, int]
RED, GREEN, BLACK, WHITE = (220, 20, 30), (20, 200, 40), (0, 0, 0), (255, 255, 255)
PREPROCESS = Preprocess((8, 8), mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)).to_json()


def file_of(colour: Colour, size: tuple[int, int] = (40, 30), kind: str = "PNG") -> bytes:
    """An image file of one colour."""
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, kind)
    return buffer.getvalue()


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever else runs here, numbers are believed: what is doubted is tested elsewhere."""
    calm = {
        code: replace(limit, suspect=validity.NEVER, invalid=validity.NEVER)
        for code, limit in validity.LIMITS.items()
    }
    monkeypatch.setattr(validity, "LIMITS", calm)


@pytest.fixture
def model_of(tmp_path: Path) -> ModelOf:
    """``model_of(recipe, right=True)``: revisited-base as that, with a reference of its own.

    ``weights`` is a name of further weights of the same network.
    """

    def make(
        recipe: str = "fp32",
        *,
        right: bool = True,
        variant: str = "revisited-base",
        weights: str = "",
    ) -> Model:
        folder = tmp_path / f"{variant}{weights}.{recipe}"
        folder.mkdir(exist_ok=True)
        (folder / "model.onnx").write_bytes(b"nothing opens this")
        inputs = np.random.default_rng(0).uniform(0, 1, (4, 3, 8, 8)).astype(np.float32)
        # What all images have in common is taken off before they are compared: not only a sign.
        logits = fake_worker.outputs(inputs) if right else fake_worker.outputs(inputs)[::-1]
        np.save(folder / "inputs.npy", inputs)
        np.save(folder / "logits.npy", logits)
        model = Model(Case(variant, recipe, "null", 1), _artifact(folder, variant, recipe))
        return with_weights(model, weights) if weights else model

    return make


def with_weights(model: Model, weights: str) -> Model:
    """The same network with others."""
    case = replace(model.case, weights=weights)
    return Model(case, replace(model.artifact, weights=weights))


def _artifact(folder: Path, variant: str, recipe: str) -> Artifact:
    return replace(
        fake_artifact(folder, f"{variant}.{recipe}"),
        variant=variant,
        recipe=recipe,
        input_size=(8, 8),
        class_names=fake_worker.CLASSES,
        placeholder_names=False,
        weights="mine",
        reference=str(folder),
        preprocess=PREPROCESS,
        size_bytes=1_000_000 if recipe == "fp32" else 250_000,
    )


@contextmanager
def serving(
    models: Sequence[Model] | None,
    logs: Path,
    settings: Settings | None = None,
    port: int = 0,
) -> Iterator[str]:
    """A real server over HTTP on this machine, on any free port unless told; gives its address."""
    uvicorn = pytest.importorskip("uvicorn", reason="needs the extra dashboard")
    pytest.importorskip("fastapi", reason="needs the extra dashboard")
    pytest.importorskip("swagger_ui_bundle", reason="needs the extra dashboard")
    from bench.dashboard.app import application
    from bench.dashboard.page import page

    made = page(settings or Settings(runs=6), logs, models, fake_worker.WORKER)
    place = socket.create_server(("127.0.0.1", port), backlog=512)
    config = uvicorn.Config(application(made), log_level="warning", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [place]})
    thread.start()
    try:
        while not server.started and thread.is_alive():
            time.sleep(0.01)
        yield f"http://127.0.0.1:{place.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture
def three(model_of: ModelOf) -> list[Model]:
    """A baseline, its INT8 that is right, and one that is wrong."""
    return [
        model_of("fp32"),
        model_of("int8-dynamic"),
        model_of("int8-static", right=False),
    ]


@pytest.fixture
def address(three: list[Model], tmp_path: Path) -> Iterator[str]:
    """Where a page with these three is served."""
    with serving(three, tmp_path / "logs") as place:
        yield place
