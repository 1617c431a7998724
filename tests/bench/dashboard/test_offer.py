"""What a page finds in its store, and what it builds."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
from pathlib import Path

import pytest
from PIL import Image

from bench.command_line import parse
from bench.dashboard import building
from bench.dashboard.cards import guesses
from bench.dashboard.measuring import Outputs, answer, lent
from bench.dashboard.models import Model
from bench.dashboard.offer import Offer
from bench.dashboard.pool import Pool
from bench.dashboard.settings import Settings, opened, read
from bench.dashboard.uploads import kept
from bench.files import Event, Wanted
from bench.options import UsageError
from runtimes import available
from tests.bench.dashboard.test_models import stored

needs_building = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None or "ort" not in available(),
    reason="needs torch to build and onnxruntime to open: pip install 'deploybench[build,ort]'",
)


async def found(offer: Offer) -> tuple[list[Model], list[str]]:
    """The models, and the states that were told on the way."""
    states: list[str] = []
    publish = offer.feed.publish

    def listening(kind: str, key: str, data: object) -> None:
        states.append(offer.progress.state)
        publish(kind, key, data)

    offer.feed.publish = listening  # type: ignore[method-assign]
    models = await offer.find()
    offer.show(models)
    return models, list(dict.fromkeys(states))


@pytest.mark.skipif("ort" not in available(), reason="needs onnxruntime")
def test_what_stands_is_offered_without_building(tmp_path: Path) -> None:
    """No child is started."""
    stored(tmp_path, "a")
    models, states = asyncio.run(found(Offer(Settings(options=parse(["--store", str(tmp_path)])))))
    assert {model.artifact.key for model in models} == {"a"}
    assert states == ["ready"]


@pytest.mark.slow
@needs_building
def test_what_is_named_is_built_with_progress(store_folder: Path) -> None:
    """By a child, whose events are the progress; what it made can be measured."""
    words = ["-m", "revisited-v6", "--recipes", "fp32", "--runtimes", "ort"]
    offer = Offer(read([*words, "--store", str(store_folder)]))
    models, states = asyncio.run(found(offer))
    assert [model.case.runtime for model in models] == ["ort"]
    assert models[0].artifact.path.is_file()
    assert states == ["building", "ready"]
    assert (offer.progress.done, offer.progress.of, offer.progress.failed) == (1, 1, [])


@pytest.mark.slow
@needs_building
@pytest.mark.usefixtures("given_models_forgotten")
def test_a_model_of_one_s_own_is_built_and_answers(tmp_path: Path) -> None:
    """A Keras-like file, channels last, which ends in a softmax."""
    from tests.export.given_files import keras_like

    names = tmp_path / "names.txt"
    names.write_text("".join(f"leaf {number}\n" for number in range(10)))
    file = keras_like(tmp_path / "own.onnx")
    words = ["--model", str(file), "--preset", "tf", "--class-names", str(names)]
    words += ["--resize", "squash", "--filter", "bilinear"]
    words += ["--recipes", "fp32,int8-dynamic", "--store", str(tmp_path / "store"), "-t", "1"]
    models, states = asyncio.run(found(Offer(opened(read(words)))))
    assert states == ["building", "ready"]
    assert [model.title for model in models] == ["own.onnx", "own.onnx + Quantized"]
    assert [model.case.runtime for model in models] == ["ort", "ort"]
    with contextlib.closing(Pool(2, 0, tmp_path)) as pool:
        for model in models:
            outputs = answered(pool, model)
            top = guesses(outputs, model.artifact.class_names)
            assert [guess.name[:5] for guess in top] == ["leaf "] * 3
            assert top[0].confidence == pytest.approx(outputs.max(), abs=1e-3)


def answered(pool: Pool, model: Model) -> Outputs:
    """What it says to a grey picture."""
    picture = kept(Image.new("RGB", (40, 30), "grey"), [model.artifact.preprocess])
    outputs: list[Outputs] = []
    died = lent(pool, model, lambda warm: outputs.append(answer(warm, picture)))
    assert not died
    return outputs[0]


@needs_building
def test_a_child_that_refuses_is_a_sentence(tmp_path: Path) -> None:
    """What it says last, and a page without models that shows it."""
    words = ["-m", "vgg19-gap", "--recipes", "fp32", "--runtimes", "ort"]
    settings = read([*words, "--store", str(tmp_path), "--weights", "nowhere.safetensors"])
    offer = Offer(settings)
    try:
        models, _ = asyncio.run(found(offer))
    except UsageError as exc:
        pytest.fail(f"the page must show this: {exc}")
    assert models == []
    assert offer.progress.state == "failed"
    assert "nowhere.safetensors" in offer.progress.failed[0]


def test_what_failed_is_told_without_the_server_s_folders(tmp_path: Path) -> None:
    """What the building child says, and what else goes wrong: the log has all of it."""
    offer = Offer(Settings(options=parse(["--store", str(tmp_path)])))
    told = Event("failed", Wanted("vgg19", "fp32", "onnx"), "can't read /srv/some/where/vgg19.pt")
    offer._heard(building.EVENT.dump_json(told), {})
    twice = Event("failed", Wanted("own", "low-rank", "onnx"), "low-rank: no layer is large enough")
    offer._heard(building.EVENT.dump_json(twice), {})
    offer.complain("no such folder: /srv/some/results")
    assert offer.progress.failed == [
        "vgg19 fp32: can't read vgg19.pt",
        "own low-rank: no layer is large enough",
        "no such folder: results",
    ]
