"""Which layers suffer most from INT8: each quantised alone, the others left in fp32."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from export.anatomy.contents import stem
from export.batches import batch_of
from export.build import Int8
from export.images import ImagesError
from export.onnx_arguments import images_for, parser
from export.optimize import data_files
from export.printable import complain, printable
from export.quantize import calibrate, check, constant_poolings, prepare, round_to_int8

LAYERS = ("Conv", "Gemm", "MatMul")
_BATCH = 4


@dataclass(frozen=True)
class LayerError:
    """What quantising one layer does to the outputs: 1 - their centred cosine with fp32's.

    ``name`` is that of its node in the prepared graph, ``layer`` what its weight is called.
    """

    name: str
    op_type: str
    error: float
    layer: str = ""


def errors(source: Path, images: NDArray[np.float32], int8: Int8) -> Iterator[LayerError]:
    """One layer after another, in the order of the graph, as they are measured.

    ``source`` is an fp32 ``.onnx``; ``images`` are preprocessed, float32
    (n, 3, height, width), and serve both for the ranges and for the comparison. Layers
    that ``int8`` keeps in fp32 are left out.
    """
    with tempfile.TemporaryDirectory(prefix="sensitivity-") as name:
        folder = Path(name)
        prepared, ranges, alone = (folder / x for x in ("model.onnx", "ranges.json", "alone.onnx"))
        prepare(source, prepared)
        check(prepared, int8)
        batches = (images[i : i + _BATCH] for i in range(0, len(images), _BATCH))
        calibrate(prepared, batches, int8, ranges)
        exact = _answers(prepared, images)
        for node in _layers(prepared, int8):
            round_to_int8(prepared, alone, int8, ranges, only=[node.name])
            error = 1 - _centred_cosine(_answers(alone, images), exact)
            yield LayerError(node.name, node.op_type, error, _layer(node))
            for file in (alone, *data_files(alone)):
                file.unlink()


def layers(source: Path) -> dict[str, str]:
    """Node -> layer, as :class:`LayerError` has them, of every one that INT8 could be in.

    ``source`` is an fp32 ``.onnx``; nothing is measured.
    """
    with tempfile.TemporaryDirectory(prefix="sensitivity-") as name:
        prepared = Path(name) / "model.onnx"
        prepare(source, prepared)
        return {node.name: _layer(node) for node in _layers(prepared, Int8())}


def _layer(node: onnx.NodeProto) -> str:
    """The layer that the name of its weight speaks of: block1.rep.0.conv1, where it has one."""
    return stem(node.input[1])


def worst_first(found: Sequence[LayerError]) -> list[LayerError]:
    """By error; equals in the order of the graph."""
    return sorted(found, key=lambda one: -one.error)


def _layers(prepared: Path, int8: Int8) -> list[onnx.NodeProto]:
    """The nodes with constant weights of their own that would be quantised."""
    graph = onnx.load(prepared, load_external_data=False).graph
    weights = {tensor.name for tensor in graph.initializer}
    left_out = {*constant_poolings(prepared), *int8.keep_fp32}
    return [
        node
        for node in graph.node
        if node.op_type in LAYERS and node.input[1] in weights and node.name not in left_out
    ]


def _answers(file: Path, images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Logits, one image at a time to bound the memory."""
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    given = session.get_inputs()[0]
    feeds = ({given.name: batch_of(image, given.shape)} for image in images)
    return np.concatenate([session.run(None, feed)[0][:1] for feed in feeds])


def _centred_cosine(ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> float:
    """What every image has in common, fp32's mean answer, is taken from both."""
    mean = theirs.mean(axis=0, dtype=np.float64)
    a, b = (ours - mean).ravel(), (theirs - mean).ravel()
    norms = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / norms if norms else 0.0


def main(argv: Sequence[str] | None = None) -> int:
    """Print the layers, worst first; 2: usage. With ``--json`` as they come, a line each.

    With ``--names`` only which layer each node is, as one JSON object.
    """
    arguments = _parser().parse_args(argv)
    try:
        if arguments.names:
            print(json.dumps(layers(arguments.file)))
            return 0
        int8 = TypeAdapter(Int8).validate_json(arguments.int8)
        images = images_for(arguments.file, arguments.data, arguments.images or int8.images)
        found = []
        for one in errors(arguments.file, images, int8):
            found.append(one)
            if arguments.json:
                print(json.dumps(asdict(one)), flush=True)
    except ValidationError as exc:
        complain(f"--int8: {exc.errors()[0]['msg']}")
        return 2
    except (ImagesError, OSError, ValueError) as exc:
        complain(exc)
        return 2
    if not arguments.json:
        lines = (f"{x.error:.6f}  {x.name}  {x.layer}" for x in worst_first(found))
        print("\n".join(map(printable, lines)))
    return 0


def _parser() -> argparse.ArgumentParser:
    made = parser(
        "python -m export.sensitivity",
        "Rank the layers of an fp32 .onnx by what quantising each of them alone does "
        "to the outputs (1 - centred cosine).",
        images=0,
        which="default: as --int8 says",
    )
    add = made.add_argument
    add("--int8", default="{}", metavar="JSON", help="fields of export.build.Int8 (default: {})")
    add("--json", action="store_true", help="a line for each layer as soon as it is measured")
    add("--names", action="store_true", help="measure nothing: node and layer names, as JSON")
    return made


if __name__ == "__main__":
    sys.exit(main())
