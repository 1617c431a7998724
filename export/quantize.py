""".onnx -> INT8 with ONNX Runtime's quantiser, dynamic and static; the calibration.

``prepare`` comes first for both: it writes its weights beside the .onnx file, so
that the steps after it read the graph without them and take them one at a time.
"""

from __future__ import annotations

import contextlib
import difflib
import io
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime import quantization
from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType
from onnxruntime.quantization.calibrate import CalibraterBase, save_tensors_data

from export.batches import batch_of
from export.build import Int8
from export.linear import ranks, split_linear
from export.optimize import (
    LARGEST_SINGLE_FILE,
    carry_metadata,
    data_files,
    optimize_graph,
    stamp,
    stored_bytes,
)

METHODS = {
    "minmax": CalibrationMethod.MinMax,
    "entropy": CalibrationMethod.Entropy,
    "percentile": CalibrationMethod.Percentile,
}
_TYPES = {"u8": QuantType.QUInt8, "s8": QuantType.QInt8}

QUANTIZED_OPS = (
    "Add",
    "AveragePool",
    "Concat",
    "Conv",
    "Flatten",
    "Gemm",
    "GlobalAveragePool",
    "MatMul",
    "MaxPool",
    "Relu",
    "Reshape",
    "Transpose",
)
"""What ``quantize_static`` puts into INT8, so that a network stays in it from end to end."""

# The quantiser's sign that preparation was done; it warns without it.
_PREPARED = {"onnx.quant.pre_process": "onnxruntime.quant"}
_PER_CHANNEL_OPSET = 13
"""DequantizeLinear has an axis from there on."""
_FLAT = 2  # the rank of what a fully connected layer takes
_DEFAULT = Int8()


class QuantizeError(ValueError):
    """A file that can't be quantised, or in which nothing would be."""


def prepare(source: Path, target: Path) -> None:
    """Optimise the graph (basic level: fusions that every runtime knows) and infer shapes.

    The weights go to ``<target>.data``. Without this step the quantiser would
    meet unfused BatchNorms and tensors of unknown type, which it leaves alone. A graph
    before opset 13, which knows no scale for each channel, is converted to that. Every node
    has a name afterwards.
    """
    with scratch(target) as folder:
        optimize_graph(_modern(source, folder), target, "basic", large=True)
    model = onnx.load(target, load_external_data=False)
    _name_nodes(model.graph)
    # ONNX Runtime lists initialisers here too; the quantiser transposes some and trips over it.
    del model.graph.value_info[:]
    onnx.save(onnx.shape_inference.infer_shapes(model, strict_mode=True), target)
    carry_metadata(source, target)
    stamp(target, _PREPARED)
    onnx.checker.check_model(target)


def _name_nodes(graph: onnx.GraphProto) -> None:
    """Give a name that is free to every node without: all later steps tell layers apart by it."""
    taken = {node.name for node in graph.node}
    for i, node in enumerate(graph.node):
        if not node.name:
            node.name = f"{node.op_type}_{i}"
            while node.name in taken:
                node.name += "_"
            taken.add(node.name)


def _modern(source: Path, folder: Path) -> Path:
    """``source``, or a copy in ``folder`` that is of opset 13; a ``QuantizeError`` for neither."""
    light = onnx.load(source, load_external_data=False)
    version = max(entry.version for entry in light.opset_import if entry.domain in ("", "ai.onnx"))
    if version >= _PER_CHANNEL_OPSET:
        return source
    if stored_bytes(source) > LARGEST_SINGLE_FILE:
        raise QuantizeError(
            f"{source.name} is of opset {version}, which knows no INT8 by channel, and too large "
            f"to be converted here: export it with opset {_PER_CHANNEL_OPSET} or later"
        )
    try:
        model = onnx.version_converter.convert_version(onnx.load(source), _PER_CHANNEL_OPSET)
    except RuntimeError as exc:
        reason = str(exc).strip().partition("\n")[0]
        raise QuantizeError(
            f"{source.name} can't be converted from opset {version}: {reason}"
        ) from exc
    converted = folder / "converted.onnx"
    onnx.save(model, converted)
    return converted


def quantize_dynamic(source: Path, target: Path) -> None:
    """INT8 weights, symmetric and per output, in fully connected layers only.

    ``source`` comes from ``prepare``. What goes into these layers is quantised
    as it comes; convolutions stay as they are. A network without a fully
    connected layer is a ``QuantizeError``.
    """
    source, target = source.absolute(), target.absolute()
    with scratch(target) as folder, _elsewhere():
        split = folder / "model.onnx"
        layers = split_linear(source, split)
        if not layers:
            raise QuantizeError(f"{source} has no fully connected layer to quantise")
        quantization.quantize_dynamic(
            split,
            target,
            # Gemm would be ignored without a word.
            op_types_to_quantize=["MatMul"],
            nodes_to_quantize=layers,
            per_channel=True,
            weight_type=QuantType.QInt8,
            use_external_data_format=_is_large(source),
        )
    _finish(source, target, "MatMulInteger", len(layers))


def quantize_static(
    source: Path,
    target: Path,
    batches: Iterable[NDArray[np.float32]],
    int8: Int8 = _DEFAULT,
) -> None:
    """INT8 weights and activations (QDQ), ranges taken from running ``batches``.

    ``source`` comes from ``prepare``. ``batches`` are preprocessed images, float32
    ``(n, 3, height, width)``. By default activations are unsigned with a zero point
    and weights signed and symmetric: what x86 CPUs multiply fastest (VNNI). An unknown
    method, a layer to keep that isn't there, or no image at all is a ``ValueError``.
    """
    check(source, int8)
    with scratch(target) as folder:
        copy = copied(source, folder)
        ranges = folder / "ranges.json"
        calibrate(copy, batches, int8, ranges)
        round_to_int8(copy, target, int8, ranges)
    _finish(source, target, "QuantizeLinear", 1)


def check(source: Path, int8: Int8) -> None:
    """Refuse what ONNX Runtime's quantiser would trip over or pass by in silence."""
    if int8.method not in METHODS:
        raise ValueError(f"calibration {int8.method!r} is unknown; known are {', '.join(METHODS)}")
    names = [node.name for node in onnx.load(source, load_external_data=False).graph.node]
    for name in int8.keep_fp32:
        if name not in names:
            near = ", ".join(difflib.get_close_matches(name, names, n=3)) or "none is alike"
            raise ValueError(f"no node is called {name!r}, which was to stay in fp32; near: {near}")


def round_to_int8(
    source: Path, target: Path, int8: Int8, ranges: Path, only: Sequence[str] = ()
) -> None:
    """Quantise by ``ranges``, which ``calibrate`` wrote; ``only`` some nodes, or all.

    It writes beside ``source``, too: see ``copied``.
    """
    symmetric = {"WeightSymmetric": True, "ActivationSymmetric": int8.activation_type == "s8"}
    source, target, ranges = (path.absolute() for path in (source, target, ranges))
    with _elsewhere():
        quantization.quantize_static(
            source,
            target,
            calibration_cache_path=ranges,
            calibrate_method=METHODS[int8.method],
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(QUANTIZED_OPS),
            nodes_to_quantize=list(only),
            nodes_to_exclude=[*constant_poolings(source), *int8.keep_fp32],
            per_channel=int8.per_channel,
            reduce_range=int8.reduce_range,
            activation_type=_TYPES[int8.activation_type],
            weight_type=_TYPES[int8.weight_type],
            use_external_data_format=_is_large(source),
            extra_options=symmetric,
        )


class _OneBatch(quantization.CalibrationDataReader):  # type: ignore[misc]
    """Hands out one batch, then nothing."""

    def __init__(self, feed: dict[str, NDArray[np.float32]]) -> None:
        self.feed: dict[str, NDArray[np.float32]] | None = feed

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        feed, self.feed = self.feed, None
        return feed


def calibrate(file: Path, batches: Iterable[NDArray[np.float32]], int8: Int8, ranges: Path) -> None:
    """Write the range of every activation over all images to ``ranges`` (JSON).

    Apart from the quantisation, so that their memory peaks don't add up.
    """
    with contextlib.redirect_stdout(io.StringIO()):
        calibrator = quantization.create_calibrator(
            file,
            list(QUANTIZED_OPS),
            augmented_model_path=str(file.with_name("augmented.onnx")),
            calibrate_method=METHODS[int8.method],
            use_external_data_format=True,
            extra_options={"percentile": int8.percentile},
        )
        if not _collect(calibrator, batches):
            raise ValueError("calibration needs at least one image")
        save_tensors_data(calibrator.compute_data(), ranges)


def _collect(calibrator: CalibraterBase, batches: Iterable[NDArray[np.float32]]) -> int:
    """Feed image by image: the histogram methods keep all activations of one call
    (125 MB an image on VGG-19). Not by CalibMaxIntermediateOutputs, which drops
    whole batches unmerged (ONNX Runtime 1.31). Returns the number of images.
    """
    given = calibrator.infer_session.get_inputs()[0]
    count = 0
    for batch in batches:
        for image in batch:
            calibrator.collect_data(_OneBatch({given.name: batch_of(image, given.shape)}))
            count += 1
    return count


def _finish(source: Path, target: Path, op_type: str, least: int) -> None:
    """Carry the metadata over; make sure that the file is sound and really quantised.

    The shapes of inner values that ``prepare`` inferred have served the quantiser. They
    name the batch by a symbol, which stops a runtime that sets it to a number (tract).
    """
    model = onnx.load(target, load_external_data=False)
    del model.graph.value_info[:]
    onnx.save(model, target)
    carry_metadata(source, target)
    for file in data_files(target):
        shutil.copymode(target, file)  # onnx makes it private to its owner
    onnx.checker.check_model(target)
    nodes = onnx.load(target, load_external_data=False).graph.node
    if sum(node.op_type == op_type for node in nodes) < least:
        raise QuantizeError(f"ONNX Runtime quantised too little of {source}: {op_type} is missing")


@contextmanager
def scratch(target: Path) -> Iterator[Path]:
    """A folder on the target's disk for intermediate files.

    The quantiser also writes beside its source, which may be somebody else's folder.
    """
    with tempfile.TemporaryDirectory(dir=target.parent, prefix="quantize-") as folder:
        yield Path(folder)


@contextmanager
def _elsewhere() -> Iterator[None]:
    """An empty current folder.

    onnx refuses to write a data file if one of its name stands in the current folder, wherever
    it is to go (1.23): a user's own ``model.onnx.data`` would do.
    """
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        yield


def copied(source: Path, folder: Path) -> Path:
    """Source and data files in ``folder``. Copies: onnx refuses links to data files."""
    for file in data_files(source):
        shutil.copyfile(file, folder / file.name)
    return Path(shutil.copyfile(source, folder / source.name))


def _is_large(source: Path) -> bool:
    """Whether the result gets a data file too: where the fp32 network needs one."""
    return stored_bytes(source) > LARGEST_SINGLE_FILE


def constant_poolings(source: Path) -> list[str]:
    """The MatMuls that pool maps: their constants are no weights, and cost nothing in fp32."""
    graph = onnx.load(source, load_external_data=False).graph
    weights = {tensor.name for tensor in graph.initializer}
    known = ranks(graph)
    return [
        node.name
        for node in graph.node
        if node.op_type == "MatMul"
        and not weights.isdisjoint(node.input)
        and any(known.get(name, 0) > _FLAT for name in node.input)
    ]
