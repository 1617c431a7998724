"""A bundle's predict.py: short, alone, and the same as what was measured."""

from __future__ import annotations

import ast
import importlib.util
import json
import struct
import subprocess
import sys
import zlib
from dataclasses import asdict, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bench import bundle, bundle_files, bundle_text, mobile, selftest
from bench.bundle_files import Order
from bench.case import Case, file_format, unsupported
from bench.options import UsageError
from export.artifact import Artifact, Store
from export.images import Preprocess
from runtimes import REGISTRY
from tests.bench.packed import chosen
from tests.conftest import Built

REAL = [name for name in REGISTRY if name != "null"]
VARIANT = "revisited-v6"
MOST_LINES = 60


def pictures() -> dict[str, Image.Image]:
    """Every mode that files come in, and one that a camera was turned for."""
    chance = np.random.default_rng(7)
    colours = Image.fromarray(chance.integers(0, 256, (37, 53, 3), np.uint8))
    deep = Image.fromarray(chance.integers(0, 65536, (20, 30)).astype(np.uint16))
    palette = colours.quantize(16)
    clear = palette.copy()
    clear.info["transparency"] = 3
    turned = colours.copy()
    turned.getexif()[0x0112] = 6
    modes = ("1", "L", "LA", "RGB", "RGBA", "CMYK", "YCbCr", "F", "I")
    plain = {mode: colours.convert("RGB").convert(mode) for mode in modes if mode not in ("F", "I")}
    grey = {mode: colours.convert("L").convert(mode) for mode in ("F", "I")}
    return {**plain, **grey, "I;16": deep, "P": palette, "P, clear": clear, "turned": turned}


def loaded(folder: Path, **model: Any) -> ModuleType:
    """``predict.py`` with a model that answers nothing, as a module."""
    how = model.get("preprocess", asdict(Preprocess((8, 8))))
    code = bundle_files.predict("ort", how)
    start, end = code.index("import onnxruntime"), code.index("def preprocess")
    code = f"{code[:start]}def load():\n    return None\n{code[end:]}"
    known = {"file": "model/none", "environment": {}, "input_shape": [1, 3, 8, 8]}
    said = {**known, "probabilities": False, **model}
    (folder / "model.json").write_text(json.dumps(said), encoding="utf-8")
    (folder / "predict.py").write_text(code, encoding="utf-8")
    spec = importlib.util.spec_from_file_location("shipped_predict", folder / "predict.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


HOWS = {
    Preprocess((32, 32)): (
        "taken as RGB, squashed to 32 x 32 pixels (height x width) with Pillow's bilinear filter, "
        "multiplied by 0.00392157, less the mean [0.485, 0.456, 0.406], over the deviation "
        "[0.229, 0.224, 0.225]: float32, (batch, 3, height, width)."
    ),
    Preprocess((224, 160), first=256): (
        "taken as RGB, squashed to 256 x 256 pixels (bilinear), then squashed to 224 x 160 pixels"
    ),
    Preprocess((7, 91), filter="nearest", mean=(0.5, 0.4, 0.3), std=(0.2, 0.1, 0.7)): (
        "squashed to 7 x 91 pixels (height x width) with Pillow's nearest filter"
    ),
    Preprocess((64, 64), filter="bicubic", mean=(0, 0, 0), std=(1, 1, 1), scale=1): (
        "multiplied by 1, less the mean [0.0, 0.0, 0.0], over the deviation [1.0, 1.0, 1.0]:"
    ),
    Preprocess((48, 40), filter="lanczos", scale=1 / 127.5, mean=(1, 1, 1), std=(1, 1, 1)): (
        "multiplied by 0.00784314, less the mean [1.0, 1.0, 1.0]"
    ),
    Preprocess((32, 20), resize="crop", channel_order="BGR"): (
        "taken as BGR (blue first), resized in its proportions with Pillow's bilinear filter until "
        "it just covers what is wanted, cut to the middle 32 x 20 pixels (height x width), "
    ),
    Preprocess((16, 16), first=19, resize="crop", filter="bicubic", layout="NHWC"): (
        "until its shorter side has 19 pixels, cut to the middle 16 x 16 pixels"
    ),
    Preprocess((28, 28), mean=(0.1,), std=(0.3,), channel_order="GREY"): (
        "taken as one channel of grey, squashed to 28 x 28 pixels"
    ),
    Preprocess((9, 28), channel_order="GREY", layout="NHWC", mean=(0,), std=(1,), first=40): (
        "less the mean [0.0], over the deviation [1.0]: float32, (batch, height, width, 1)."
    ),
}
"""Ways to prepare an image, and what of each stands in a bundle's README."""


@pytest.mark.parametrize("name", pictures())
@pytest.mark.parametrize(
    "how",
    HOWS,
    ids=lambda how: f"{how.size}, {how.filter}, {how.resize}, {how.channel_order}, {how.layout}",
)
def test_preprocessing_is_that_of_the_tables(tmp_path: Path, how: Preprocess, name: str) -> None:
    """Array for array, whatever the size, the filter and the image's mode."""
    image = pictures()[name]
    theirs = loaded(tmp_path, preprocess=asdict(how)).preprocess(image)
    assert theirs.dtype == np.float32 and theirs.flags.c_contiguous
    np.testing.assert_array_equal(theirs, how(image))


@pytest.mark.parametrize(("how", "said"), HOWS.items(), ids=str)
def test_the_readme_says_how_an_image_is_taken(
    artifact: Artifact, how: Preprocess, said: str
) -> None:
    """Resize, order of channels and layout as they are."""
    made = replace(artifact, preprocess=how.to_json(), facts={"image_shape": how.shape})
    model = bundle_files.model_of(
        Case(VARIANT, "fp32", "ort", 1), made, np.eye(2, dtype=np.float32)
    )
    assert said in bundle_text._takes(model)


def test_what_can_not_be_cropped_is_refused_as_it_was_measured(tmp_path: Path) -> None:
    """Pillow would fill up with black what a picture on end lacks, and nobody measured that."""
    how = Preprocess((16, 24), first=20, resize="crop")
    module = loaded(tmp_path, preprocess=asdict(how))
    wide, on_end = Image.new("RGB", (60, 40), "red"), Image.new("RGB", (40, 60), "red")
    np.testing.assert_array_equal(module.preprocess(wide), how(wide))
    for prepare in (how, module.preprocess):
        with pytest.raises(ValueError, match="can't be cropped"):
            prepare(on_end)


def png(width: int, height: int, *, whole: bool = True) -> bytes:
    """A PNG's beginning, which claims these sides; else its head is cut short."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0) if whole else b"12345"
    chunk = b"IHDR" + head
    return (
        b"\x89PNG\r\n\x1a\n"
        + struct.pack(">I", len(head))
        + chunk
        + struct.pack(">I", zlib.crc32(chunk))
        + b"\0\0\0\0IDAT"
    )


@pytest.mark.parametrize(
    "content",
    [b"no image", png(8, 8), png(8, 8, whole=False), png(60_000, 60_000)],
    ids=["none", "cut off", "head", "bomb"],
)
def test_a_damaged_picture_is_a_sentence(tmp_path: Path, content: bytes) -> None:
    """Whatever Pillow raises on it: its name and the reason, and no traceback."""
    loaded(tmp_path)
    (tmp_path / "a.png").write_bytes(content)
    command = [sys.executable, "predict.py", "a.png"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("a.png: ") and len(done.stderr.splitlines()) == 1, done.stderr


def test_what_predict_does_not_heed_is_refused(artifact: Artifact) -> None:
    """A field or a value that it does not know would make other inputs, silently."""
    known = Preprocess((8, 8))
    usual = replace(artifact, preprocess=known.to_json())
    assert bundle_files.preprocess_of(usual) == asdict(known)
    with pytest.raises(UsageError, match="does not say how it takes an image"):
        bundle_files.preprocess_of(replace(artifact, preprocess=""))


@pytest.mark.parametrize("field", ["resize", "channel_order", "layout", "a new one"])
def test_a_preprocessing_of_tomorrow_is_refused(
    artifact: Artifact, field: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that this version of predict.py has no line for, whatever its value."""
    tomorrow = {**asdict(Preprocess((8, 8))), field: "other"}
    monkeypatch.setattr(bundle_files, "asdict", lambda how: tomorrow)
    with pytest.raises(UsageError, match="in a way that predict.py can't"):
        bundle_files.preprocess_of(replace(artifact, preprocess=Preprocess((8, 8)).to_json()))


@pytest.mark.parametrize(
    "how",
    [
        Preprocess((8, 8)),
        Preprocess((8, 8), 9, "crop", "bicubic", channel_order="BGR"),
        Preprocess((3000, 4000), 3500, "crop", "bicubic", channel_order="BGR"),
        Preprocess((8, 8), resize="crop", filter="bicubic", layout="NHWC"),
    ],
    ids=str,
)
@pytest.mark.parametrize("runtime", REAL)
def test_it_is_short_and_needs_three_packages(runtime: str, how: Preprocess) -> None:
    """At most 60 lines of at most 100 characters; of packages the runtime, numpy, Pillow."""
    code = bundle_files.predict(runtime, asdict(how))
    assert len(code.splitlines()) <= MOST_LINES
    assert max(map(len, code.splitlines())) <= 100
    asked = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Import)]
    given = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.ImportFrom)]
    names = [alias.name for node in asked for alias in node.names]
    names += [node.module or "" for node in given]
    packages = {name.partition(".")[0] for name in names} - set(sys.stdlib_module_names)
    own = {
        "ort": {"onnxruntime"},
        "opencv": {"cv2"},
        "mnn": {"MNN"},
        "litert": {"ai_edge_litert"},
        "executorch": {"executorch", "torch"},
    }
    of_torch = {"torch"} if runtime.startswith("torch") else {runtime}
    assert packages == {"numpy", "PIL"} | own.get(runtime, of_torch)


def test_confidences_are_shares_in_falling_order(tmp_path: Path) -> None:
    """They add up to 1 over all classes; the likeliest stand first, and no more than asked for."""
    how = asdict(Preprocess((8, 8)))
    module = loaded(tmp_path, preprocess=how, classes=["a", "b", "c"], input_shape=[2, 3, 8, 8])
    outputs = np.array([[0.0, 2.0, 1.0], [900.0, -900.0, 0.0]], np.float32)
    module.logits.__defaults__ = (lambda batch: outputs[: len(batch)],)
    first, second = module.predict([Image.new("RGB", (9, 9))] * 2)
    assert [name for name, _ in first] == ["b", "c", "a"]
    assert sum(share for _, share in first) == pytest.approx(1)
    assert second[0] == ("a", 1.0)
    assert len(module.predict([Image.new("RGB", (9, 9))], top=1)[0]) == 1


def test_a_softmax_is_not_taken_twice(tmp_path: Path) -> None:
    """A model that ends in one is told by its answers; its confidences stay as they are."""
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    from tests.export.given_files import CLASSES, keras_like

    keras = onnxruntime.InferenceSession(keras_like(tmp_path / "leaf.onnx"))
    how = Preprocess((16, 16), layout="NHWC")
    pictured = [pictures()[name] for name in ("RGB", "turned", "P")]
    outputs = keras.run(None, {"image": how.batch(pictured)})[0]
    assert selftest.are_probabilities(outputs)
    assert not selftest.are_probabilities(np.log(outputs))
    assert not selftest.are_probabilities(outputs * 1.1)
    module = loaded(
        tmp_path,
        preprocess=asdict(how),
        classes=list(range(CLASSES)),
        input_shape=[1, 16, 16, 3],
        probabilities=True,
    )
    module.logits.__defaults__ = (lambda batch: keras.run(None, {"image": batch})[0],)
    shares = [dict(found) for found in module.predict(pictured, top=CLASSES)]
    found = [[one[number] for number in range(CLASSES)] for one in shares]
    np.testing.assert_allclose(found, outputs, atol=1e-6)


def test_what_is_packed_says_whether_answers_are_probabilities(artifact: Artifact) -> None:
    """By what the model answered to the self-test's images."""
    known = replace(artifact, preprocess=Preprocess((8, 8)).to_json())
    case = Case(VARIANT, "fp32", "ort", 1)
    shares = np.array([[0.2, 0.3, 0.5], [1, 0, 0]], np.float32)
    assert bundle_files.model_of(case, known, shares).probabilities
    assert not bundle_files.model_of(case, known, shares - 0.5).probabilities


def test_the_last_batch_is_filled_up_and_its_filling_dropped(tmp_path: Path) -> None:
    """The model only ever sees batches of the size that was measured."""
    module = loaded(tmp_path, preprocess=asdict(Preprocess((4, 4))), input_shape=[4, 3, 4, 4])
    seen: list[int] = []

    def run(batch: np.ndarray) -> np.ndarray:
        seen.append(len(batch))
        return np.asarray(batch.mean(axis=(1, 2, 3))[:, None])

    images = [Image.new("L", (5, 5), shade) for shade in range(0, 250, 50)]
    answers = module.logits(images, run)
    assert seen == [4, 4]
    assert len(answers) == 5 and len(set(answers.ravel().tolist())) == 5


CASES = [
    *(Case(VARIANT, "fp32", name, 1) for name in REAL),
    *(Case(VARIANT, "fp32", name, 1, precision="bf16") for name in ("openvino", "ncnn")),
    *(Case(VARIANT, "int8-static", name, 1) for name in ("ort", "openvino", "opencv", "litert")),
    Case(VARIANT, "fp32-opt", "ort", 2),
    Case(VARIANT, "fp32", "mnn", 1, batch_size=3),
    Case(VARIANT, "fp32", "litert", 1, batch_size=3),
    Case(VARIANT, "fp32", "openvino", 2, batch_size=3),
]
ELSEWHERE = """
import json, sys
sys.path.insert(0, sys.argv[1])
import predict
from pathlib import Path
images = [predict.Image.open(path) for path in sorted(Path(sys.argv[1], "selftest").glob("*.png"))]
predict.np.save(sys.argv[2], predict.logits(images))
ours = [name for name in sys.modules if name.partition(".")[0] in ("bench", "runtimes", "export")]
Path(sys.argv[3]).write_text(json.dumps(ours))
"""


@pytest.mark.parametrize("case", CASES, ids=str)
def test_answers_are_those_of_the_adapter(
    case: Case,
    built: Built,
    store_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """From another folder, without any module of ours, the same as was measured."""
    reason = unsupported(case)
    if reason:
        pytest.skip(reason)
    artifact = built(case.variant, case.recipe, file_format(case) or "")
    monkeypatch.setattr(mobile, "write", lambda model, folder: "left out here")
    folder, outputs, modules = tmp_path / "bundle", tmp_path / "out.npy", tmp_path / "modules"
    folder.mkdir()
    bundle_files.write(folder, Order(chosen(case, artifact), artifact, Store(store_folder)))
    arguments = [str(path) for path in (folder, outputs, modules)]
    command = [sys.executable, "-I", "-B", "-c", ELSEWHERE, *arguments]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(modules.read_text()) == []
    how = Preprocess.from_json(artifact.preprocess)
    inputs = selftest.inputs(folder / bundle.SELFTEST, how)
    theirs = selftest.answers(case, artifact, inputs)
    np.testing.assert_allclose(np.load(outputs), theirs, rtol=0, atol=1e-5 * np.abs(theirs).max())


def test_the_mobile_converter_has_a_limit(
    built: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that needs more memory is a reason, as one that fails is."""
    monkeypatch.setattr("bench.host.child_memory_bytes", lambda: 1 << 20)
    model = built(VARIANT, "fp32", "onnx").path
    assert "converter ended with" in mobile.write(model, tmp_path / "mobile")
    assert not (tmp_path / "mobile").exists()
