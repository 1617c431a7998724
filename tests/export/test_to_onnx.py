from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from export import to_onnx
from export.optimize import data_files, read_metadata
from export.to_onnx import ExportError, check_against, write_onnx

SIZE = (12, 10)


class Residual(nn.Module):
    """Norms, a depthwise convolution, a skip, constant pooling and two Linear layers."""

    pooling: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False)
        self.register_buffer("pooling", torch.rand(10, 4), persistent=False)
        self.hidden = nn.Linear(8 * 12 * 4, 16)
        self.head = nn.Linear(16, 5)
        nn.init.zeros_(self.first.bias)  # type: ignore[arg-type]
        nn.init.zeros_(self.hidden.bias)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        maps = torch.relu(self.norm(self.first(images)))
        maps = (maps + self.depthwise(maps)) @ self.pooling
        logits: torch.Tensor = self.head(torch.relu(self.hidden(maps.flatten(1))))
        return logits


@pytest.fixture(scope="module")
def module() -> Any:
    """One network for all tests: they only read it."""
    return Residual().eval()


@pytest.fixture(scope="module")
def file(module, tmp_path_factory) -> Path:
    """The module, exported."""
    path: Path = tmp_path_factory.mktemp("exported") / "model.onnx"
    write_onnx(module, path, SIZE, {"classes": "a, b"})
    return path


def images(count: int) -> Any:
    """Random images of the right size."""
    return np.random.default_rng(0).standard_normal((count, 3, *SIZE), dtype=np.float32)


def answers(module: nn.Module, inputs: Any) -> Any:
    """What torch computes."""
    with torch.inference_mode():
        return module(torch.from_numpy(inputs)).numpy()


def test_same_outputs_as_torch(module, file):
    """The file computes what the module computes; the error is returned."""
    inputs = images(3)
    assert 0 <= check_against(file, inputs, answers(module, inputs)) < 1e-5


def test_wrong_outputs_are_an_error(module, file):
    """A file that answers otherwise is no export, nor is one that answers no number."""
    inputs = images(2)
    right = answers(module, inputs)
    with pytest.raises(ExportError, match="differs from its torch module"):
        check_against(file, inputs, right * 1.01)
    with pytest.raises(ExportError):
        check_against(file, inputs, np.full_like(right, np.nan))


def test_interface(file):
    """Input and output have their fixed names; the batch alone is free."""
    session = onnxruntime.InferenceSession(file)
    (source,), (sink,) = session.get_inputs(), session.get_outputs()
    assert (source.name, source.shape, source.type) == (
        "input",
        ["batch", 3, 12, 10],
        "tensor(float)",
    )
    assert (sink.name, sink.shape) == ("logits", ["batch", 5])
    for count in (1, 2, 7):
        assert session.run(None, {"input": images(count)})[0].shape == (count, 5)


def test_no_traces_of_this_machine(file):
    """No stack trace, path, inner shape or doc string is left in the file."""
    content = file.read_bytes()
    for trace in (str(Path.cwd()), "site-packages", "/usr", ".py", "stack_trace", __name__):
        assert trace.encode() not in content
    graph = onnx.load(file).graph
    assert not graph.value_info
    assert not graph.metadata_props
    assert not any(node.metadata_props or node.doc_string for node in graph.node)
    assert not any(value.metadata_props for value in (*graph.input, *graph.output))


def test_same_bytes_in_another_folder(module, file, tmp_path):
    """What stands in the file follows from the module alone: hashes can be compared."""
    write_onnx(module, tmp_path / "other.onnx", SIZE, {"classes": "a, b"})
    assert (tmp_path / "other.onnx").read_bytes() == file.read_bytes()


def test_metadata(file):
    """The metadata is what was given, nothing else."""
    assert read_metadata(file) == {"classes": "a, b"}


def test_zero_biases_stay(module, file):
    """Biases that are still zero are parameters too, though the exporter drops them."""
    tensors = {tensor.name: list(tensor.dims) for tensor in onnx.load(file).graph.initializer}
    assert tensors["hidden.bias"] == [16]
    assert tensors["head.bias"] == [5]


def test_batch_norm_is_fused(file):
    """The exporter folds a BatchNorm into the convolution before it."""
    assert "BatchNormalization" not in {node.op_type for node in onnx.load(file).graph.node}


def test_nodes_are_numbered_anew(file):
    """Node names don't depend on what was exported before in the same process."""
    nodes = onnx.load(file).graph.node
    assert [node.name for node in nodes] == [f"{node.op_type}_{i}" for i, node in enumerate(nodes)]


def test_weights_in_a_data_file(module, file, tmp_path, monkeypatch):
    """Over protobuf's limit the weights go beside the file, under a relative name."""
    monkeypatch.setattr(to_onnx, "LARGEST_SINGLE_FILE", 1000)
    large = tmp_path / "model.onnx"
    write_onnx(module, large, SIZE, {"classes": "a, b"})
    assert data_files(large) == [tmp_path / "model.onnx.data"]
    assert str(tmp_path).encode() not in large.read_bytes()
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for path in (large, *data_files(large)):
        path.rename(moved / path.name)
    inputs = images(2)
    assert check_against(moved / "model.onnx", inputs, answers(module, inputs)) < 1e-5


def test_training_mode_is_refused(tmp_path):
    """Dropout and batch statistics are not what is shipped."""
    with pytest.raises(ValueError, match=r"\.eval\(\)"):
        write_onnx(Residual().train(), tmp_path / "model.onnx", SIZE, {})
    assert not list(tmp_path.iterdir())


def test_quiet(module, tmp_path, capfd):
    """An export says nothing, raises no warning, and leaves the loggers as they were."""
    logger = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = logger.level
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write_onnx(module, tmp_path / "model.onnx", SIZE, {})
    assert capfd.readouterr() == ("", "")
    assert logger.level == level
