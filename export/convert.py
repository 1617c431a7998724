"""-> a runtime's own format: ncnn, MNN, LiteRT, ExecuTorch, compiled PyTorch.

Each converter is imported by the one function that calls it: they weigh
hundreds of megabytes and are installed one by one.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from export.images import Preprocess
from export.recipes import MOST_IMAGES

_SAID = 300
"""Characters of a converter's last line that a table has room for."""

Images = NDArray[np.float32]
Size = tuple[int, int]
"""Height and width in pixels."""


# --- ncnn, by pnnx


def to_ncnn(module: nn.Module, file: Path, size: Size) -> None:
    """Write ``file`` (.param) and its .bin, weights in fp32, for one image at a time."""
    _run_pnnx(module, file, size, fp16=False)


def to_ncnn_fp16(module: nn.Module, file: Path, size: Size) -> None:
    """As pnnx does unasked: weights stored in fp16, half the size."""
    _run_pnnx(module, file, size, fp16=True)


def onnx_to_ncnn(source: Path, target: Path) -> None:
    """.onnx -> .param and .bin, weights in fp32, for one image at a time."""
    _run_pnnx_on_graph(source, target, fp16=False)


def onnx_to_ncnn_fp16(source: Path, target: Path) -> None:
    """.onnx -> .param and .bin with weights stored in fp16."""
    _run_pnnx_on_graph(source, target, fp16=True)


def _run_pnnx(module: nn.Module, file: Path, size: Size, *, fp16: bool) -> None:
    with tempfile.TemporaryDirectory() as name, torch.inference_mode():
        source = Path(name) / "model.pt"
        traced = torch.jit.trace(  # type: ignore[no-untyped-call]
            module, torch.zeros(1, 3, *size)
        )
        traced.save(str(source))
        _pnnx(source, (3, *size), file, fp16=fp16)


def _run_pnnx_on_graph(source: Path, file: Path, *, fp16: bool) -> None:
    """From a copy of ``source`` in a folder of its own, beside which pnnx writes."""
    import onnx

    from export.optimize import LARGEST_SINGLE_FILE, stored_bytes

    if stored_bytes(source) > LARGEST_SINGLE_FILE:
        raise ConversionError(
            f"pnnx can't read {source.name}: it is over protobuf's 2 GB, and pnnx reads no "
            "external data"
        )
    model = onnx.load(source)
    _, *shape = (axis.dim_value for axis in model.graph.input[0].type.tensor_type.shape.dim)
    with tempfile.TemporaryDirectory() as name:
        onnx.save(model, Path(name) / "model.onnx")
        del model
        _pnnx(Path(name) / "model.onnx", tuple(shape), file, fp16=fp16)


def _pnnx(source: Path, shape: tuple[int, ...], file: Path, *, fp16: bool) -> None:
    """Convert for one image of ``shape``; keep two of the files that pnnx writes to its folder."""
    import pnnx

    folder = source.parent
    made = {
        "pnnxparam": "model.pnnx.param",
        "pnnxbin": "model.pnnx.bin",
        "pnnxpy": "model_pnnx.py",
        "pnnxonnx": "model.pnnx.onnx",
        "ncnnparam": "model.ncnn.param",
        "ncnnbin": "model.ncnn.bin",
        "ncnnpy": "model_ncnn.py",
    }
    words = [f"{key}={folder / value}" for key, value in made.items()]
    sizes = f"inputshape=[1,{','.join(map(str, shape))}]"
    _call("pnnx", [pnnx.EXEC_PATH, str(source), sizes, f"fp16={int(fp16)}", *words])
    # Where it stops half way it may end without an exit code that says so.
    _expect(folder / made["ncnnparam"], "pnnx")
    shutil.copy(folder / made["ncnnparam"], file)
    shutil.copy(folder / made["ncnnbin"], file.with_suffix(".bin"))


# --- MNN


def to_mnn(source: Path, target: Path) -> None:
    """.onnx -> .mnn, weights in fp32."""
    _mnnconvert(source, target)


def to_mnn_fp16(source: Path, target: Path) -> None:
    """.onnx -> .mnn with weights stored in fp16; MNN unpacks them when it loads the file."""
    _mnnconvert(source, target, "--fp16")


def _mnnconvert(source: Path, target: Path, *more: str) -> None:
    """Call MNN's converter below its own command, which reports to its makers.

    ``MNN.tools.mnnconvert`` installs a logging client with pip when it is
    imported and sends them what was converted.
    """
    words = ["mnnconvert", "-f", "ONNX", "--modelFile", str(source), "--MNNModel", str(target)]
    words += ["--bizCode", "none"]
    _call("MNN's converter", [sys.executable, "-c", _MNN_CONVERT, *words, *more])
    _expect(target, "MNN's converter")


_MNN_CONVERT = "import sys, _tools; _tools.mnnconvert(sys.argv[1:])"
_MNN_QUANTIZE = "import sys, _tools; _tools.mnnquant(sys.argv[1:])"


def quantize_mnn(source: Path, target: Path, images: Images, preprocess: Preprocess) -> None:
    """fp32 .mnn -> INT8 .mnn, activations calibrated on ``images`` (N, 3, H, W).

    Of version 3.6.1's three methods KL, the default, ends with a segmentation
    fault and ADMM with a broken heap; what EMA writes runs, and fails parity.

    Its quantiser reads pictures and preprocesses them itself: they are turned back into pixels,
    which is exact, since they were pixels of that size before.
    """
    mean, std = (np.array(values, np.float32) for values in (preprocess.mean, preprocess.std))
    height, width = preprocess.size
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "images").mkdir()
        for place, image in enumerate(images):
            _picture(image, preprocess).save(folder / "images" / f"{place}.png")
        settings = {
            "format": {"GREY": "GRAY"}.get(preprocess.channel_order, preprocess.channel_order),
            "mean": (mean / preprocess.scale).tolist(),
            "normal": (preprocess.scale / std).tolist(),
            "width": width,
            "height": height,
            "path": f"{folder / 'images'}/",
            "used_image_num": len(images),
            "feature_quantize_method": "EMA",
            "batch_size": 1,
            "weight_quantize_method": "MAX_ABS",
        }
        (folder / "settings.json").write_text(json.dumps(settings))
        words = ["mnnquant", str(source), str(target), str(folder / "settings.json")]
        _call("MNN's quantiser", [sys.executable, "-c", _MNN_QUANTIZE, *words])
    _expect(target, "MNN's quantiser")


def _picture(image: Images, preprocess: Preprocess) -> Image.Image:
    """What ``preprocess`` made ``image`` from, after it was resized."""
    mean, std = (np.array(values, np.float32) for values in (preprocess.mean, preprocess.std))
    channels_last = image.transpose(1, 2, 0) if preprocess.layout == "NCHW" else image
    pixels = np.rint((channels_last * std + mean) / preprocess.scale).astype(np.uint8)
    if preprocess.channel_order == "GREY":
        return Image.fromarray(pixels[..., 0])
    return Image.fromarray(pixels[..., ::-1] if preprocess.channel_order == "BGR" else pixels)


# --- LiteRT


def to_tflite(module: nn.Module, file: Path, size: Size) -> None:
    """Write a .tflite that takes (N, 3, H, W) as the other files do."""
    import litert_torch

    litert_torch.convert(module, (torch.zeros(1, 3, *size),)).export(str(file))


def quantize_tflite(source: Path, target: Path, images: Images) -> None:
    """fp32 .tflite -> INT8 weights and activations, calibrated on ``images``."""
    from ai_edge_litert.interpreter import Interpreter
    from ai_edge_quantizer import algorithm_manager, qtyping, quantizer, recipe
    from ai_edge_quantizer.utils import qsv_utils

    signatures = Interpreter(str(source)).get_signature_list()
    (signature, facts), *_ = signatures.items()
    feed = [{facts["inputs"][0]: image[None]} for image in images]
    work = quantizer.Quantizer(str(source))
    work.load_quantization_recipe(recipe.static_wi8_ai8())
    for end in (qtyping.TFLOperationName.INPUT, qtyping.TFLOperationName.OUTPUT):
        # Floats in and out, as all other files take and give.
        work.update_quantization_recipe(
            ".*", end, algorithm_key=algorithm_manager.AlgorithmName.NO_QUANTIZE
        )
    # Left alone it averages the ranges over the images, the first one counting for most.
    ranges: dict[str, Any] = {}
    for one in feed:
        for tensor, found in work.calibrate({signature: [one]}).items():
            ranges[tensor] = qsv_utils.min_max_update(ranges.get(tensor, {}), found)
    work.quantize(ranges).export_model(str(target))


# --- ExecuTorch


def to_pte(module: nn.Module, file: Path, size: Size) -> None:
    """Lower to XNNPACK and write an ExecuTorch program."""
    _lower(module, file, size)


def quantize_to_pte(module: nn.Module, file: Path, size: Size, images: Images) -> None:
    """The same in INT8, weights per channel, activations calibrated on ``images``."""
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
        XNNPACKQuantizer,
        get_symmetric_quantization_config,
    )

    settings = get_symmetric_quantization_config(is_per_channel=True)
    quantizer = XNNPACKQuantizer().set_global(settings)
    _lower(_quantized(module, size, images, quantizer), file, size)


def _lower(module: nn.Module, file: Path, size: Size) -> None:
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    batch = torch.export.Dim("batch", min=1, max=MOST_IMAGES)
    example = (torch.zeros(2, 3, *size),)
    program = torch.export.export(module, example, dynamic_shapes=({0: batch},))
    edge = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
    with file.open("wb") as sink:
        edge.to_executorch().write_to_file(sink)


# --- PyTorch, traced


def to_torchscript(module: nn.Module, file: Path, size: Size) -> None:
    """Trace and freeze; whoever loads it optimises it for the CPU at hand."""
    with warnings.catch_warnings(), torch.inference_mode():
        # TorchScript is deprecated, and still what many a service has in production.
        warnings.simplefilter("ignore", DeprecationWarning)
        traced = torch.jit.trace(  # type: ignore[no-untyped-call]
            module, torch.zeros(1, 3, *size), check_trace=False
        )
        torch.jit.freeze(traced.eval()).save(str(file))


# --- PyTorch, compiled


def to_aoti(module: nn.Module, file: Path, size: Size) -> None:
    """Compile to C++ and write a package of code and weights."""
    _compile(module, file, size)


def to_aoti_bf16(module: nn.Module, file: Path, size: Size) -> None:
    """The same under autocast to bf16."""
    with torch.autocast("cpu", torch.bfloat16):
        _compile(module, file, size)


def quantize_to_aoti(module: nn.Module, file: Path, size: Size, images: Images) -> None:
    """The same in INT8, calibrated on ``images``."""
    from torchao.quantization.pt2e.quantizer import x86_inductor_quantizer as x86

    quantizer = x86.X86InductorQuantizer()
    quantizer.set_global(x86.get_default_x86_inductor_quantization_config())
    _compile(_quantized(module, size, images, quantizer), file, size)


def _compile(module: nn.Module, file: Path, size: Size) -> None:
    from torch._inductor.utils import fresh_cache

    batch = torch.export.Dim("batch")
    with torch.no_grad(), fresh_cache():
        program = torch.export.export(
            module, (torch.zeros(2, 3, *size),), dynamic_shapes=({0: batch},)
        )
        torch._inductor.aoti_compile_and_package(
            program,
            package_path=str(file),
            # Otherwise the number of threads is baked into the code.
            inductor_configs={"freezing": True, "cpp.dynamic_threads": True},
        )


# --- for several


def _quantized(module: nn.Module, size: Size, images: Images, quantizer: Any) -> nn.Module:
    """The module with quantise and dequantise operators, calibrated."""
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    batch = torch.export.Dim("batch")
    example = (torch.zeros(2, 3, *size),)
    graph = torch.export.export(module, example, dynamic_shapes=({0: batch},)).module()
    prepared = prepare_pt2e(graph, quantizer)
    with torch.inference_mode():
        for image in images:
            prepared(torch.from_numpy(image[None]))
    converted: nn.Module = convert_pt2e(prepared)
    return converted


class ConversionError(RuntimeError):
    """A converter's refusal, in its own words."""


def _call(maker: str, command: Sequence[str]) -> None:
    """Run a converter; what it prints goes where ours goes, into the build's log.

    Raises :class:`ConversionError` with how it ended and the last thing that it said.
    """
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    text = done.stdout.decode(errors="replace")
    sys.stdout.write(text)
    if done.returncode:
        code = done.returncode
        how = f"exit code {code}" if code > 0 else signal.Signals(-code).name
        last = [line.strip() for line in text.splitlines() if line.strip()] or ["nothing"]
        raise ConversionError(f"{maker} ended with {how}; the last it said: {last[-1][:_SAID]}")


def _expect(file: Path, maker: str) -> None:
    """Some converters end well without having written anything."""
    if not file.exists() or file.stat().st_size == 0:
        raise ConversionError(f"{maker} wrote no file")
