"""The files by which a host's peaks are measured: ``python -m export.peaks --store DIR``.

Matrix products and nothing else, in fp32 and in INT8 (QDQ), large enough to keep all
units busy and small enough for the caches. Prints the artifacts as one line of JSON.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from export.artifact import (
    Artifact,
    Store,
    default_store,
    folder_bytes,
    folder_sha256,
    key_of,
    write_record,
)

if TYPE_CHECKING:
    import onnx

PRECISIONS = ("fp32", "int8")
ROWS = 512
"""Of the matrix that is multiplied: the batch size with which the file is to be run."""
IMAGE = (4, 16)
"""Height and width of an "image": an adapter feeds (ROWS, 3, height, width)."""
_WIDTHS = (3 * 4 * 16, *(512,) * 13, 64)
"""Weights that a core's own cache holds: at 1536 the same libraries reach 3 to 15 % less. Narrow at
both ends, so that bringing floats in and out costs next to nothing."""
_SCALE = 4 / 127  # of activations that are spread about as a standard normal
_ARTIFACTS = TypeAdapter(list[Artifact])


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the artifacts, built if they are not there yet."""
    parser = argparse.ArgumentParser("python -m export.peaks", description=__doc__)
    parser.add_argument("--store", type=Path, default=default_store(), metavar="DIR")
    store = Store(parser.parse_args(arguments).store)
    artifacts = [artifact(precision, store) for precision in PRECISIONS]
    sys.stdout.write(_ARTIFACTS.dump_json(artifacts).decode() + "\n")
    return 0


def artifact(precision: str, store: Store) -> Artifact:
    """The file of one precision ("fp32", "int8") in ``store``, with its inputs beside it."""
    facts = {
        "code": Path(__file__).read_text(encoding="utf-8"),
        "onnx": importlib.metadata.version("onnx"),
    }
    key = f"peaks.{precision}.{key_of(facts)}"
    with store.locked(key):
        found = store.find(key)
        if found is not None:
            return found
        with store.writing(key) as folder:
            write_record(folder, _written(precision, key, folder))
    built = store.find(key)
    if built is None:
        raise OSError(f"{key} was written but can't be read back: is the disk full?")
    return built


def _written(precision: str, key: str, folder: Path) -> Artifact:
    """Write model and inputs into ``folder``; returns their record."""
    onnx = importlib.import_module("onnx")
    anatomy = importlib.import_module("export.anatomy")
    file = folder / "model.onnx"
    onnx.save(model(precision), file)
    chance = np.random.default_rng(0)
    np.save(folder / "inputs.npy", chance.standard_normal((ROWS, 3, *IMAGE), dtype=np.float32))
    counted = anatomy.count(file)
    return Artifact(
        key=key,
        variant="peaks",
        weights="random",
        recipe="fp32" if precision == "fp32" else "int8-static",
        format="onnx",
        folder="",
        file=file.name,
        size_bytes=folder_bytes(folder),
        sha256=folder_sha256(folder),
        parameters=counted.parameters,
        nonzero_parameters=counted.parameters - counted.zeros,
        rounded_to_zero=0,
        macs=counted.macs,
        input_size=IMAGE,
        class_names=(),
        placeholder_names=True,
        reference=key,
        layers=counted.layers,
    )


def model(precision: str) -> onnx.ModelProto:
    """A chain of matrix products over (batch, 3, height, width), in ``precision``."""
    library: Any = importlib.import_module("onnx")
    helper = library.helper
    nodes = [helper.make_node("Flatten", ["input"], ["values_0"])]
    for place in range(len(_WIDTHS) - 1):
        data, weights = f"values_{place}", _weights(place)
        if precision == "int8":
            nodes += [*_quantized(helper, data), _dequantized(helper, weights, place)]
            data, weights = f"{data}_d", f"{weights}_d{place}"
        nodes.append(helper.make_node("MatMul", [data, weights], [f"values_{place + 1}"]))
    last = f"values_{len(_WIDTHS) - 1}"
    if precision == "int8":
        nodes += _quantized(helper, last)
        last = f"{last}_d"
    graph = helper.make_graph(
        nodes,
        "peaks",
        [helper.make_tensor_value_info("input", library.TensorProto.FLOAT, ["batch", 3, *IMAGE])],
        [helper.make_tensor_value_info(last, library.TensorProto.FLOAT, ["batch", _WIDTHS[-1]])],
        [library.numpy_helper.from_array(array, name) for array, name in _tensors(precision)],
    )
    opset = [helper.make_opsetid("", 20)]
    made: Any = helper.make_model(graph, opset_imports=opset, ir_version=9)
    library.checker.check_model(made)
    return cast("onnx.ModelProto", made)


def _quantized(helper: Any, name: str) -> list[Any]:
    """An activation through INT8 and back, which a runtime fuses into the products around it."""
    q, d = f"{name}_q", f"{name}_d"
    return [
        helper.make_node("QuantizeLinear", [name, "scale", "zero"], [q]),
        helper.make_node("DequantizeLinear", [q, "scale", "zero"], [d]),
    ]


def _dequantized(helper: Any, weights: str, place: int) -> Any:
    return helper.make_node(
        "DequantizeLinear", [weights, f"{weights}_scale"], [f"{weights}_d{place}"]
    )


def _weights(place: int) -> str:
    """The products between equal widths share their weights: what counts is the arithmetic."""
    return f"weights_{_WIDTHS[place]}_{_WIDTHS[place + 1]}"


def _tensors(precision: str) -> Iterator[tuple[NDArray[Any], str]]:
    """The stored weights, in INT8 with their scales, and their names."""
    chance = np.random.default_rng(1)
    for name in dict.fromkeys(map(_weights, range(len(_WIDTHS) - 1))):
        shape = tuple(int(width) for width in name.split("_")[1:])
        floats = chance.standard_normal(shape, dtype=np.float32) / np.float32(np.sqrt(shape[0]))
        if precision == "fp32":
            yield floats, name
            continue
        scale = np.abs(floats).max() / 127
        yield np.round(floats / scale).astype(np.int8), name
        yield np.array(scale, np.float32), f"{name}_scale"
    if precision == "int8":
        yield np.array(_SCALE, np.float32), "scale"
        yield np.array(128, np.uint8), "zero"


if __name__ == "__main__":
    sys.exit(main())
