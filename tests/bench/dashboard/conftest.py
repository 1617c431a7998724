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
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bench import validity
from bench.case import Case
from bench.dashboard.models import Model
from bench.dashboard.settings import Settings
from bench.record import Run, write_run
from export.artifact import Artifact
from export.images import Preprocess
from tests.bench import browser
from tests.bench.dashboard import fake_worker
from tests.bench.made_up import answering, fake_artifact, header, measured, thousand_images

ModelOf = Callable[..., Model]
Colour = tuple[int, int, int]
RED, GREEN, BLACK, WHITE = (220, 20, 30), (20, 200, 40), (0, 0, 0), (255, 255, 255)
BASE = Case("revisited-base", "fp32", "ort", 2, weights="mine")
"""Stored rows are of this and of ``INT8``."""
INT8 = replace(BASE, recipe="int8-static")
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

    ``weights`` is a name of further weights of the same network; whatever ``runtime`` is named,
    the fake child answers.
    """

    def make(
        recipe: str = "fp32",
        *,
        right: bool = True,
        variant: str = "revisited-base",
        weights: str = "",
        runtime: str = "null",
    ) -> Model:
        folder = tmp_path / f"{variant}{weights}.{recipe}"
        folder.mkdir(exist_ok=True)
        (folder / "model.onnx").write_bytes(b"nothing opens this")
        inputs = np.random.default_rng(0).uniform(0, 1, (4, 3, 8, 8)).astype(np.float32)
        # What all images have in common is taken off before they are compared: not only a sign.
        logits = fake_worker.outputs(inputs) if right else fake_worker.outputs(inputs)[::-1]
        np.save(folder / "inputs.npy", inputs)
        np.save(folder / "logits.npy", logits)
        model = Model(Case(variant, recipe, runtime, 1), _artifact(folder, variant, recipe))
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
    worker: tuple[str, ...] = fake_worker.WORKER,
) -> Iterator[str]:
    """A real server over HTTP on this machine, on any free port unless told; gives its address."""
    for library in ("uvicorn", "fastapi", "swagger_ui_bundle"):
        pytest.importorskip(library, reason="needs the extra dashboard")
    from bench.dashboard.page import page
    from bench.dashboard.server import Server

    made = page(settings or Settings(runs=6), logs, models, worker)
    place = socket.create_server(("127.0.0.1", port), backlog=512)
    server = Server(made)
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


@pytest.fixture
def records(tmp_path: Path) -> Path:
    """Two runs: an older one of other files, a newer one with labelled images."""
    (tmp_path / "records").mkdir()
    images = thousand_images()
    old = [*measured(BASE, 9, 9, 9)]
    older = [replace(one, file=replace(one.file, key="old")) for one in old if one.file]
    new = [
        *measured(BASE, 8, 8.1, 7.9, answers=answering(images, wrong=200)),
        *measured(INT8, 4, 4.1, 3.9, answers=answering(images, wrong=250)),
    ]
    runs = {
        "old-1": Run(header(run="old-1", started="2025-01-01T10:00:00+00:00"), tuple(older)),
        "new-1": Run(header(run="new-1", labelled=images), tuple(new)),
    }
    for name, run in runs.items():
        write_run(tmp_path / "records" / f"{name}.jsonl", run)
    return tmp_path


# --- in a browser


@pytest.fixture
def opened(chromium: Any, address: str) -> Iterator[Callable[..., Any]]:
    """``opened(place, models=True, **context)``: the page, by default when its models are shown.

    Each in a context of its own, none of whose pages may complain or ask another server.
    """
    own = ("http://127.0.0.1:", "blob:", "data:")
    with browser.visits(chromium, own, viewport=browser.DESK) as fresh:

        def open_page(place: str = address, *, models: bool = True, **context: Any) -> Any:
            page = fresh(**context).new_page()
            page.goto(place)
            if models:
                page.locator("#models input").first.wait_for()
            return page

        yield open_page


@pytest.fixture
def shot(tmp_path: Path) -> Callable[[Any, str], None]:
    """``shot(page, name)``: a picture of the whole page, for who wants to look."""
    folder = browser.screenshots(tmp_path)

    def take(page: Any, name: str) -> None:
        page.screenshot(path=folder / f"dashboard-{name}.png", full_page=True)

    return take
