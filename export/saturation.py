"""Where an INT8 file would go wrong on x86 CPUs without VNNI, layer by layer.

There ONNX Runtime (MLAS: QgemmU8X8KernelAvx2, ConvSymKernelAvx2 and their AVX-512
siblings) multiplies u8 activations by s8 weights with ``pmaddubsw``, which adds two
products at a time into a signed 16-bit number that saturates: 255 * 127 * 2 is twice
what it holds. With VNNI (``vpdpbusd``) sums have 32 bits. What that can cost: Intel
Neural Compressor's list of validated models (v2.6.1) has the same ResNet-50 at 74.76 %
on c6i (VNNI) and at 68.95 % on c6a (none).

Two products are paired that follow one another in the order in which MLAS sums (see
``export.qdq``); a kernel that sums in another order, of another runtime, pairs others. No
sum saturates in depthwise convolutions, which are computed in 32 bits, and with unsigned
weights, which are widened to 16 bits and multiplied by ``pmaddwd``.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto

from export.anatomy.contents import stem
from export.batches import batch_of
from export.counts import count, count_or_0
from export.images import ImagesError
from export.onnx_arguments import images_for, parser, preprocess_of
from export.optimize import read_metadata
from export.printable import complain, paragraph
from export.qdq import Integers, Layer, grouped, quantised_layers, unfused, windows
from export.recipes import REMEDIES
from export.saturation_page import Found, Saturation

LEAST, MOST = -(1 << 15), (1 << 15) - 1
"""What a signed 16-bit number holds."""
POSITIONS = 256
"""Of a convolution's output, looked at over all images."""
_HIGHEST = 255


def saturation(
    file: Path, images: Iterable[NDArray[np.float32]], positions: int = POSITIONS, seed: int = 0
) -> list[Saturation]:
    """Every quantised layer of a QDQ ``.onnx``, in the order of the graph.

    ``images`` are preprocessed, float32 (3, height, width). Of every convolution about
    ``positions`` places of its output are looked at, drawn anew for each image; of a
    fully connected layer every output of every image; each with all output channels.
    No image, or a file without a quantised layer, is a ``ValueError``.
    """
    model = onnx.load(file)
    layers = list(quantised_layers(model))
    if not layers:
        raise ValueError(f"{file} has no layer between DequantizeLinear: it is no static INT8 file")
    batch = list(images)
    if not batch:
        raise ValueError("saturation is looked for in images: give at least one")
    found = [_unseen(layer) for layer in layers]
    each = math.ceil(positions / len(batch))
    chance = np.random.default_rng(seed)
    for inputs in _quantised_inputs(model, layers, batch):
        for i, layer in enumerate(layers):
            if not layer.immune:
                rows = _drawn(layer, layer.unsigned(inputs[layer.input]), each, chance)
                found[i] = _counted(found[i], layer, rows)
    return found


def _unseen(layer: Layer) -> Saturation:
    possible = 0.0
    if not layer.immune:
        flat = layer.weights.reshape(-1, layer.reduction)
        possible = float(np.mean([can_saturate(one).mean() for one in flat]))
    return Saturation(
        layer.node.name,
        layer.node.op_type,
        layer.reduction,
        possible=possible,
        immune=layer.immune,
        layer=stem(layer.node.input[1]),
    )


def can_saturate(weights: Integers) -> NDArray[np.bool_]:
    """Which pairs of ``weights`` (reduction,) some u8 input takes out of 16 bits: (pairs,)."""
    first, second = _pairs(weights.astype(np.int64))
    highest = _HIGHEST * (np.maximum(first, 0) + np.maximum(second, 0))
    lowest = _HIGHEST * (np.minimum(first, 0) + np.minimum(second, 0))
    found: NDArray[np.bool_] = (highest > MOST) | (lowest < LEAST)
    return found


def pair_sums(rows: NDArray[np.uint8], weights: Integers) -> NDArray[np.int32]:
    """The sums of two products that could saturate: (rows, some pairs).

    ``rows`` are (n, reduction), ``weights`` (reduction,). Pairs that no input can take
    out of range are left out.
    """
    suspects = np.flatnonzero(can_saturate(weights))
    first, second = _pairs(weights.astype(np.int32))
    left = rows[:, 2 * suspects].astype(np.int32)
    # A last product alone never saturates, so that every suspect has a partner.
    right = rows[:, 2 * suspects + 1].astype(np.int32)
    sums: NDArray[np.int32] = left * first[suspects] + right * second[suspects]
    return sums


def _pairs(weights: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    even = np.append(weights, 0) if len(weights) % 2 else weights
    return even[0::2], even[1::2]


def _counted(so_far: Saturation, layer: Layer, rows: NDArray[np.uint8]) -> Saturation:
    """With ``rows`` (groups, n, reduction) counted as well."""
    touched = saturated = 0
    for taken, group in zip(rows, layer.weights, strict=True):
        for weights in group:
            sums = pair_sums(taken, weights)
            outside = (sums > MOST) | (sums < LEAST)
            saturated += int(outside.sum())
            touched += int(outside.any(axis=1).sum())
    outputs = rows.shape[1] * layer.weights.shape[0] * layer.weights.shape[1]
    return replace(
        so_far,
        outputs=so_far.outputs + outputs,
        touched=so_far.touched + touched,
        pairs=so_far.pairs + outputs * math.ceil(layer.reduction / 2),
        saturated=so_far.saturated + saturated,
    )


def _quantised_inputs(
    model: onnx.ModelProto, layers: Sequence[Layer], images: Iterable[NDArray[np.float32]]
) -> Iterator[dict[str, Integers]]:
    """For each image the quantised input of every layer, by name.

    Nothing is fused, so that each tensor exists: layers are computed in fp32 from the
    values that the integers stand for, and quantised after.
    """
    signed = {layer.input: layer.signed for layer in layers}
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    for name, negative in signed.items():
        kind = TensorProto.INT8 if negative else TensorProto.UINT8
        watched.graph.output.append(onnx.helper.make_tensor_value_info(name, kind, None))
    session = unfused(watched)
    given = session.get_inputs()[0]
    for image in images:
        feed = {given.name: batch_of(image, given.shape)}
        yield dict(zip(signed, session.run(list(signed), feed), strict=True))


def _drawn(
    layer: Layer, values: NDArray[np.uint8], count: int, chance: np.random.Generator
) -> NDArray[np.uint8]:
    """What ``count`` places of the layer's output are summed from: (groups, n, reduction)."""
    if layer.node.op_type != "Conv":
        return values.reshape(1, -1, layer.reduction)
    patches = windows(layer, values[0])
    height, width = patches.shape[:2]
    places = chance.choice(height * width, min(count, height * width), replace=False)
    return grouped(layer, patches[places // width, places % width])


def table(found: Sequence[Saturation]) -> str:
    """One line a layer, for a person."""
    width = max(len(one.shown) for one in found)
    titles = f"{'sums of':>7}  {'outputs hit':>11}  {'pairs hit':>9}  {'possible':>8}"
    lines = [f"{one.shown:<{width}}  {one.reduction:>7}  {_cells(one)}" for one in found]
    return "\n".join([f"{'layer':<{width}}  {titles}", *lines])


def _cells(one: Saturation) -> str:
    if one.immune:
        return f"never: {one.immune}"
    return f"{one.share:>11.3%}  {one.pair_share:>9.4%}  {one.possible:>8.3%}"


def sentence(found: Sequence[Saturation]) -> str:
    """Whether the file can be used on a CPU without VNNI, and what to do if not."""
    hit = [one for one in found if one.touched]
    risky = [one for one in found if one.possible]
    remedy = " or ".join(REMEDIES)
    if hit:
        worst = max(hit, key=lambda one: one.share)
        return (
            f"WARNING: without VNNI {len(hit)} of {len(found)} layers would saturate, most in "
            f"{worst.shown} ({worst.share:.2%} of its outputs): build {remedy} for such CPUs"
        )
    if risky:
        return (
            f"none of these images saturates a sum; {len(risky)} of {len(found)} layers have "
            f"weights that others could ({remedy} would rule it out)"
        )
    return "no input can saturate a sum: this file gives the same answers without VNNI"


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table; 1: a sum saturates, 2: usage."""
    arguments = _parser().parse_args(argv)
    try:
        preprocess = preprocess_of(arguments.file)
        images = images_for(arguments.file, arguments.data, arguments.images)
        found = saturation(arguments.file, images, arguments.positions)
        print(paragraph(f"{table(found)}\n{sentence(found)}"))
        cost = ""
        if arguments.effect:
            from export.saturated import effect

            cost = effect(arguments.file, preprocess, arguments.data, arguments.effect)
            print(paragraph(cost))
        if arguments.json:
            _keep(arguments, found, cost)
    except (ImagesError, OSError, ValueError) as exc:
        complain(exc)
        return 2
    return 1 if any(one.touched for one in found) else 0


def _keep(arguments: argparse.Namespace, found: Sequence[Saturation], effect: str) -> None:
    """Write what was found, and of which file and images, without the folders of this machine."""
    said = read_metadata(arguments.file)
    kept = Found(
        variant=said.get("deploybench.variant", ""),
        weights=said.get("deploybench.weights", ""),
        recipe=said.get("deploybench.recipe", ""),
        key=said.get("deploybench.key", ""),
        data=Path(arguments.data).name,
        images=arguments.images,
        positions=arguments.positions,
        layers=tuple(found),
        effect=effect,
    )
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps(asdict(kept), indent=1) + "\n", encoding="utf-8")


def _parser() -> argparse.ArgumentParser:
    made = parser(
        "python -m export.saturation",
        "Say how often 16-bit sums would saturate in a static INT8 .onnx file on CPUs "
        "without VNNI, by layer.",
        images=16,
        which="of the training part (default: 16)",
    )
    add = made.add_argument
    add("--positions", type=count, default=POSITIONS, metavar="N", help="of each output, about")
    what = "also compute N validation images with saturated sums: what it would cost (needs --data)"
    add("--effect", type=count_or_0, default=0, metavar="N", help=what)
    kept = "keep the figures for python -m export.saturation_page"
    add("--json", type=Path, metavar="FILE", help=kept)
    return made


if __name__ == "__main__":
    sys.exit(main())
