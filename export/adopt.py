"""A given .onnx file: what stands in it, and a copy that every runtime's adapter can take.

Nothing that a file says is trusted: its data files must stand beside it, and what can't be
read is a ``GivenError``. ``python -m export.adopt FILE...`` prints a line of JSON for each
(:class:`export.given.Described`); whoever starts it limits its memory and time.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from onnx import TensorProto, helper
from onnx.external_data_helper import load_external_data_for_model, set_external_data

from export.batches import batch_of
from export.functions import EndlessFunctions, check_functions
from export.given import DESCRIBED, METADATA, MOST_METADATA, Described, GivenError, Port
from export.images import Preprocess
from export.links import leads_out
from export.optimize import LARGEST_SINGLE_FILE, beside
from export.printable import printable
from export.rewrite import INLINE_BYTES
from export.subgraphs import all_tensors, read_by
from export.variants import Given

_IMAGES = "images"
_LOGITS = "logits"
_CAST = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.UINT8)
"""What images may be turned into in the graph, and classes be turned back from."""
_BATCH = "batch"
_MOST_NODES = 1_000_000
_MOST_PORTS = 1_000
_MOST_SAID = 64 << 20
"""Bytes of what is told of a file: whoever started this process holds all of them in memory."""
_MOST_MESSAGE = 10_000
"""Characters of an error, which may name what a stranger wrote."""


def main(argv: Sequence[str] | None = None) -> int:
    """Describe files, a line each; exit code 2 and a sentence for the first that can't be."""
    for name in sys.argv[1:] if argv is None else argv:
        try:
            print(_told(describe(Path(name))), flush=True)
        except GivenError as exc:
            print(printable(str(exc)[:_MOST_MESSAGE]), file=sys.stderr)
            return 2
        except MemoryError:
            print(f"{name} needs more memory to be read than there is", file=sys.stderr)
            return 2
    return 0


def _told(found: Described) -> str:
    text = DESCRIBED.dump_json(found)
    if len(text) > _MOST_SAID:
        raise GivenError(
            f"{found.file} has names, shapes and metadata of {len(text)} bytes, more than "
            f"{_MOST_SAID}: that is no image classifier"
        )
    return text.decode()


def describe(file: Path) -> Described:
    """What an .onnx file says of itself, its weights left unread; raises ``GivenError``."""
    model, files = _read(file)
    known = {tensor.name for tensor in model.graph.initializer}
    known |= {tensor.values.name for tensor in model.graph.sparse_initializer}
    inputs = [value for value in model.graph.input if value.name not in known]
    if (ports := len(inputs) + len(model.graph.output)) > _MOST_PORTS:
        raise GivenError(
            f"{file} has {ports} inputs and outputs, more than {_MOST_PORTS}: that is no image "
            "classifier"
        )
    return Described(
        file=str(file.absolute()),
        sha256=_sha256(files),
        size_bytes=sum(path.stat().st_size for path in files),
        opset=_opset(model, file),
        inputs=tuple(map(_port, inputs)),
        outputs=tuple(map(_port, model.graph.output)),
        metadata={
            entry.key: entry.value
            for entry in model.metadata_props
            if entry.key in METADATA and len(entry.value) <= MOST_METADATA
        },
        data_files=tuple(str(path.relative_to(file.parent)) for path in files[1:]),
    )


def _read(file: Path) -> tuple[onnx.ModelProto, list[Path]]:
    """The graph of a file and all of its files, with checks of what would trip up later steps."""
    try:
        model = onnx.load(file, load_external_data=False)
        files = _files(file, model)
        _check_lengths(file, model)
    except OSError as exc:
        raise GivenError(f"{file}: {exc.strerror or exc}") from exc
    except (DecodeError, ValueError) as exc:
        raise GivenError(f"{file} is truncated or not an .onnx file: {exc}") from exc
    if not model.graph.node:
        raise GivenError(f"{file} is not an .onnx file, or its graph is empty")
    if len(model.graph.node) > _MOST_NODES:
        raise GivenError(f"{file} has {len(model.graph.node)} nodes, more than {_MOST_NODES}")
    try:
        check_functions(model)
    except EndlessFunctions as exc:
        raise GivenError(f"{file}: {exc}") from exc
    return model, files


def _check_lengths(file: Path, model: onnx.ModelProto) -> None:
    """Raise a ``ValueError`` where a data file is shorter than its tensors say."""
    sizes: dict[str, int] = {}
    for tensor in all_tensors(model):
        place = {entry.key: entry.value for entry in tensor.external_data}
        name = place.get("location", "")
        if not name:
            continue
        if name not in sizes:
            sizes[name] = beside(file, name).stat().st_size
        start, length = int(place.get("offset", 0)), int(place.get("length", 0))
        if min(start, length) < 0 or start + length > sizes[name]:
            raise ValueError(
                f"its data file {name} has {sizes[name]} bytes, and tensor {tensor.name} lies in "
                f"{length} from {start} on: fetch both files again"
            )


def _files(file: Path, model: onnx.ModelProto) -> list[Path]:
    """The file and its data files, which must be there and beside it.

    All that any tensor of the model names: ``export.optimize.data_files``, which reads no
    more than it must, knows those of the graph's own initialisers.
    """
    places = (entry for tensor in all_tensors(model) for entry in tensor.external_data)
    names = {entry.value for entry in places if entry.key == "location"}
    if any(not isinstance(name, str) for name in names):
        raise ValueError("the name of a data file is no text")
    found = [file, *(beside(file, name) for name in sorted(names))]
    for path in found:
        if leads_out(path, file.parent):
            raise ValueError(f"{path.name} is a link that leads out of its folder")
        if not path.is_file():
            raise OSError(None, f"its data file {path.name} is missing: both belong together")
    return found


def _sha256(files: Sequence[Path]) -> str:
    """Over the contents of a file and its data files."""
    whole = hashlib.sha256()
    for path in files:
        with path.open("rb") as stream:
            whole.update(hashlib.file_digest(stream, "sha256").digest())
    return whole.hexdigest()


def _opset(model: onnx.ModelProto, file: Path) -> int:
    found = [entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")]
    if not found:
        raise GivenError(f"{file} doesn't say which opset it was written for: it can't be run")
    return int(max(found))


def _port(value: onnx.ValueInfoProto) -> Port:
    kind = value.type.tensor_type
    names = {number: name.lower() for name, number in TensorProto.DataType.items()}
    shape = None
    if kind.HasField("shape"):
        shape = tuple(dim.dim_value if dim.dim_value > 0 else None for dim in kind.shape.dim)
    return Port(value.name, names.get(kind.elem_type, "unknown"), shape)


def adopt(given: Given, size: tuple[int, int], target: Path) -> None:
    """Write a copy of a given file with one float32 input and one float32 output, batch x classes.

    Its nodes and weights stay as they are. What the copy has instead of the original: inputs
    that are initialisers (files before IR version 4) and outputs other than the one that was
    chosen are gone, with the nodes that only these needed; height and width, where they were
    left open, are ``size``; a Cast stands in front of an input that is not float32, and a Cast
    or a Flatten behind such an output. Weights over protobuf's limit go to ``<target>.data``.
    Raises ``GivenError`` for a file that has changed since it was described.
    """
    file = Path(given.file)
    model, files = _read(file)
    if _sha256(files) != given.sha256:
        raise GivenError(f"{file} has changed since this build began: start it again")
    load_external_data_for_model(model, str(file.parent))
    graph = model.graph
    known = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in known]
    outputs = [value for value in graph.output if value.name == given.output]
    del graph.input[:], graph.output[:]
    graph.input.extend(inputs)
    graph.output.extend(outputs)
    del graph.value_info[:]
    _take_floats(graph, given)
    _give_floats(graph, given)
    _drop_unneeded(graph)
    _fix_sides(graph.input[0], given, size)
    # Of the files: protobuf can't even tell the size of a tensor above its limit.
    large = sum(path.stat().st_size for path in files) > LARGEST_SINGLE_FILE
    if large:
        _put_outside(graph, f"{target.name}.data")
    onnx.save(model, target)
    try:
        onnx.checker.check_model(target)
    except onnx.checker.ValidationError as exc:
        reason = str(exc).strip().partition("\n")[0]
        raise GivenError(f"{file} breaks the rules of ONNX: {reason}") from exc


def _put_outside(graph: onnx.GraphProto, name: str) -> None:
    """Have all but small weights saved in a data file of this name, beside the graph.

    As ``onnx.save`` would, which refuses a name that exists in the current folder, too.
    """
    for tensor in graph.initializer:
        if len(tensor.raw_data) >= INLINE_BYTES:
            set_external_data(tensor, name)


def _take_floats(graph: onnx.GraphProto, given: Given) -> None:
    """A Cast in front of an input of another type than float32."""
    port = graph.input[0].type.tensor_type
    if port.elem_type == TensorProto.FLOAT:
        return
    if port.elem_type not in _CAST:
        raise GivenError(f"{given.file} takes {_port(graph.input[0]).dtype}, which no image is")
    cast = helper.make_node(
        "Cast", [_free(graph, _IMAGES)], [given.input], name="cast_images", to=port.elem_type
    )
    graph.input[0].name = cast.input[0]
    port.elem_type = TensorProto.FLOAT
    graph.node.insert(0, cast)


def _give_floats(graph: onnx.GraphProto, given: Given) -> None:
    """A Cast and a Flatten behind an output that is not float32 and batch x classes."""
    value = graph.output[0]
    port, name = value.type.tensor_type, given.output
    if port.elem_type not in _CAST:
        raise GivenError(f"{given.file} gives {_port(value).dtype}, which are no scores of classes")
    if port.elem_type != TensorProto.FLOAT:
        after = _free(graph, _LOGITS)
        graph.node.append(
            helper.make_node("Cast", [name], [after], name="cast_classes", to=TensorProto.FLOAT)
        )
        port.elem_type, name = TensorProto.FLOAT, after
    if len(port.shape.dim) > 2:
        after = _free(graph, f"{_LOGITS}_flat")
        graph.node.append(helper.make_node("Flatten", [name], [after], name="flatten_classes"))
        del port.shape.dim[2:]
        name = after
    value.name = name


def _free(graph: onnx.GraphProto, name: str) -> str:
    """``name``, or the next that no value of the graph has."""
    taken = {value for node in graph.node for value in (*node.input, *node.output)}
    taken |= {tensor.name for tensor in graph.initializer}
    numbered = (f"{name}_{number}" for number in range(len(taken) + 1))
    return next(one for one in (name, *numbered) if one not in taken)


def _drop_unneeded(graph: onnx.GraphProto) -> None:
    """Leave out nodes and initialisers that the one output does not need."""
    needed = {graph.output[0].name}
    kept = []
    for node in reversed(graph.node):
        if not needed.isdisjoint(node.output):
            kept.append(node)
            needed.update(read_by(node))
    del graph.node[:]
    graph.node.extend(reversed(kept))
    # One by one: to put back those that stay would copy them, which protobuf can't above 2 GB.
    for place in reversed(range(len(graph.initializer))):
        if graph.initializer[place].name not in needed:
            del graph.initializer[place]


def _fix_sides(value: onnx.ValueInfoProto, given: Given, size: tuple[int, int]) -> None:
    """Set the height and width of the input, and give a name to a batch that is open."""
    place = 1 if Preprocess.from_json(given.preprocess).layout == "NHWC" else 2
    dims = value.type.tensor_type.shape.dim
    if given.batch is None and not dims[0].dim_param:
        dims[0].dim_param = _BATCH
    for dim, side in zip(dims[place : place + 2], size, strict=True):
        dim.dim_value = side


def answers(file: Path, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
    """What ONNX Runtime answers without any graph optimisation: float32 (N, classes).

    The reference of a given model, whose PyTorch module nobody has. ``inputs`` are
    prepared images, handed over one at a time.
    """
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    (source,), (target,) = session.get_inputs(), session.get_outputs()
    feeds = ({source.name: batch_of(image, source.shape)} for image in inputs)
    return np.concatenate([session.run([target.name], feed)[0][:1] for feed in feeds])


if __name__ == "__main__":
    sys.exit(main())
