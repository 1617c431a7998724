"""Converters: what is ours in them. What they write is judged by tests/runtimes."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch", reason="converting needs deploybench[build]")

from export import convert  # noqa: E402
from export.images import Preprocess  # noqa: E402
from tests.export.given_files import keras_like  # noqa: E402


def test_a_converter_that_writes_nothing_is_an_error(tmp_path: Path) -> None:
    """MNN's ends well without a file; an empty file is none either."""
    with pytest.raises(RuntimeError, match="MNN's converter wrote no file"):
        convert._expect(tmp_path / "missing", "MNN's converter")
    (tmp_path / "empty").touch()
    with pytest.raises(RuntimeError, match="wrote no file"):
        convert._expect(tmp_path / "empty", "x")


def test_calibration_images_become_the_pixels_that_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MNN's quantiser preprocesses by itself: pixels, mean and normal give our floats back."""
    pixels = np.random.default_rng(0).integers(0, 256, (3, 8, 6, 3), dtype=np.uint8)
    preprocess = Preprocess((8, 6))
    images = preprocess.batch([Image.fromarray(p) for p in pixels])
    seen: dict[str, Any] = {}

    def read(maker: str, command: list[str]) -> None:
        settings = json.loads(Path(command[-1]).read_text())
        files = sorted(Path(settings["path"]).iterdir(), key=lambda file: int(file.stem))
        raw = np.stack([np.asarray(Image.open(file)) for file in files]).astype(np.float32)
        seen["images"] = (raw - settings["mean"]) * settings["normal"]
        seen["size"] = (settings["height"], settings["width"], settings["used_image_num"])
        Path(command[-2]).write_bytes(b"net")

    monkeypatch.setattr(convert, "_call", read)
    convert.quantize_mnn(tmp_path / "a.mnn", tmp_path / "b.mnn", images, preprocess)
    np.testing.assert_allclose(seen["images"].transpose(0, 3, 1, 2), images, atol=1e-5)
    assert seen["size"] == (8, 6, 3)


def test_a_converter_that_fails_is_an_error() -> None:
    """Its exit code or signal, and the last thing that it said, are the reason."""
    script = "import sys; print('the weights are odd'); sys.exit(3)"
    with pytest.raises(convert.ConversionError, match="pnnx ended with exit code 3; .*odd"):
        convert._call("pnnx", [sys.executable, "-c", script])
    script = "import os; os.abort()"
    with pytest.raises(convert.ConversionError, match="pnnx ended with SIGABRT; .*nothing"):
        convert._call("pnnx", [sys.executable, "-c", script])


@pytest.mark.parametrize("write", [convert.onnx_to_ncnn, convert.onnx_to_ncnn_fp16])
def test_a_graph_of_another_tool_becomes_a_net(write: Any, tmp_path: Path) -> None:
    """Channels last, weights beside the file: ncnn answers as ONNX Runtime does."""
    for package in ("ncnn", "pnnx"):
        pytest.importorskip(package, reason="needs deploybench[ncnn]")
    import ncnn
    import onnxruntime

    file = keras_like(tmp_path / "leaf.onnx", external=True)
    write(file, tmp_path / "leaf.param")
    net = ncnn.Net()
    net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = net.opt.use_fp16_packed = False
    assert net.load_param(str(tmp_path / "leaf.param")) == 0
    assert net.load_model(str(tmp_path / "leaf.bin")) == 0
    image = np.random.default_rng(0).normal(size=(1, 16, 16, 3)).astype(np.float32)
    extractor = net.create_extractor()
    extractor.input("in0", ncnn.Mat(image[0]))
    _, answer = extractor.extract("out0")
    (expected,) = onnxruntime.InferenceSession(file).run(None, {"image": image})
    np.testing.assert_allclose(np.array(answer), expected[0], atol=2e-3)


def test_mnns_own_commands_are_not_called() -> None:
    """They report what was converted, and install a client for that; ours go below them."""
    if importlib.util.find_spec("MNN") is None:
        pytest.skip("needs deploybench[mnn]")
    for code in (convert._MNN_CONVERT, convert._MNN_QUANTIZE):
        assert "MNN.tools" not in code
