"""Each prediction is compared with what the remedy really does to a file."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import helper
from safetensors.torch import save_file
from torch import nn

from export.anatomy.contents import Contents
from export.anatomy.examine import Examination, examine
from export.anatomy.filters import WEAK, removal
from export.anatomy.finding import Finding
from export.anatomy.low_rank import ENERGY, rank_of
from export.anatomy.onnx_file import read_onnx
from export.anatomy.state_file import read_pickle
from export.optimize import optimize_graph
from export.surgery import prune_filters
from export.to_onnx import write_onnx
from tests.conftest import Built
from tests.export.anatomy.graphs import convolutional, weights, write_graph

SIZE = (8, 8)
FILTERS = {"conv.weight": weights(8, 3, 3, 3), "second.weight": weights(16, 8, 3, 3, seed=1)}


def finding(examined: Examination, code: str) -> Finding:
    """The one finding of that name."""
    (found,) = [one for one in examined.findings if one.code == code]
    return found


def codes(examined: Examination) -> set[str]:
    """The names of all findings."""
    return {one.code for one in examined.findings}


def basic(file: Path) -> Path:
    """What ONNX Runtime makes of a file with its basic optimisations: folded and fused."""
    target = file.with_name(f"basic-{file.name}")
    optimize_graph(file, target, "basic", large=False)
    return target


class Head(nn.Module):
    """A convolution, then fully connected layers on 4x4 maps, flattened or averaged."""

    def __init__(self, flatten: bool, hidden: int | None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.flatten = flatten
        self.conv = nn.Conv2d(3, 16, 3, stride=2, padding=1)
        inputs = 16 * 16 if flatten else 16
        self.hidden = None if hidden is None else nn.Linear(inputs, hidden)
        self.fc = nn.Linear(inputs if hidden is None else hidden, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        maps = torch.relu(self.conv(images))
        vectors = maps.flatten(1) if self.flatten else maps.mean(dim=(2, 3))
        if self.hidden is not None:
            vectors = torch.relu(self.hidden(vectors))
        logits: torch.Tensor = self.fc(vectors)
        return logits


def exported(module: nn.Module, file: Path) -> Path:
    """A module's .onnx."""
    write_onnx(module.eval(), file, SIZE, {})
    return file


def gone(before: Contents, after: Contents) -> tuple[int, int]:
    """Bytes of weights, and multiply-accumulates, that a remedy saved."""
    assert before.macs is not None and after.macs is not None
    learnt = [
        sum(t.size_bytes for t in x.tensors if t.role == "parameter") for x in (before, after)
    ]
    return learnt[0] - learnt[1], before.macs - after.macs


def test_global_average_pooling_in_place_of_a_flatten(tmp_path):
    """Both remedies of a flattened head: the layers kept, and one layer alone."""
    flat = examine(exported(Head(flatten=True, hidden=32), tmp_path / "flat.onnx"))
    kept, one = finding(flat, "flattened-head").remedies
    after = flat
    for remedy, hidden in ((kept, 32), (one, None)):
        other = exported(Head(flatten=False, hidden=hidden), tmp_path / f"{hidden}.onnx")
        after = examine(other)
        saved = gone(flat.contents, after.contents)
        assert (remedy.bytes_saved, remedy.macs_saved) == saved
    assert "flattened-head" not in codes(after)


def test_a_head_is_guessed_from_names_and_shapes(tmp_path):
    """safetensors sorts ``classifier`` before ``features``: the last filters are found anyway."""
    state = {
        "features.0.weight": torch.randn(8, 3, 3, 3),
        "features.10.weight": torch.randn(16, 12, 3, 3),
        "features.2.weight": torch.randn(12, 8, 3, 3),
        "classifier.0.weight": torch.randn(32, 16 * 49),
        "classifier.3.weight": torch.randn(10, 32),
    }
    save_file(state, tmp_path / "flat.safetensors")
    before = examine(tmp_path / "flat.safetensors")
    state["classifier.0.weight"] = torch.randn(32, 16)
    save_file(state, tmp_path / "gap.safetensors")
    after = examine(tmp_path / "gap.safetensors")
    remedy = finding(before, "flattened-head").remedies[0]
    assert remedy.bytes_saved == before.contents.stored_bytes - after.contents.stored_bytes
    assert "flattened-head" not in codes(after)


def test_a_head_is_a_share_of_the_weights_not_of_the_file(tmp_path):
    """Adam's moments are two thirds of a file; what a head holds of the weights stays the same."""
    weights = {
        "features.0.weight": torch.randn(8, 3, 3, 3),
        "classifier.weight": torch.randn(10, 8 * 49),
    }
    learnt = [nn.Parameter(value) for value in weights.values()]
    adam = torch.optim.Adam(learnt)
    torch.stack([value.sum() for value in learnt]).sum().backward()
    adam.step()
    torch.save({"state_dict": weights, "optimizer": adam.state_dict()}, tmp_path / "both.pt")
    found = finding(examine(tmp_path / "both.pt"), "flattened-head")
    head, all_weights = 10 * 8 * 49, 10 * 8 * 49 + 8 * 3 * 3 * 3
    assert f"holds {100 * head / all_weights:.0f} % of the weights" in found.title


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize(
    ("flat", "averaged", "which"),
    [("xception-flatten", "xception-gap", 0), ("vgg19", "vgg19-gap", 1)],
)
def test_heads_of_our_own_variants(built: Built, flat, averaged, which):
    """The two networks that the variants operate on, by their real files."""
    before = examine(built(flat, "fp32", "onnx").path)
    after = read_onnx(built(averaged, "fp32", "onnx").path).contents
    remedy = finding(before, "flattened-head").remedies[which]
    size, macs = gone(before.contents, after)
    assert remedy.bytes_saved == size
    assert remedy.macs_saved == macs


def test_channels_last_before_the_flatten(tmp_path):
    """What tf2onnx makes of Keras: maps turned to NHWC, then flattened."""
    nodes = [
        helper.make_node("Conv", ["input", "conv.weight"], ["a"], pads=[1] * 4),
        helper.make_node("Transpose", ["a"], ["b"], perm=[0, 2, 3, 1]),
        helper.make_node("Reshape", ["b", "shape"], ["c"]),
        helper.make_node("MatMul", ["c", "dense.kernel"], ["d"]),
        helper.make_node("Add", ["d", "dense.bias"], ["logits"]),
    ]
    tensors = {
        "conv.weight": weights(4, 3, 3, 3),
        "shape": np.array([-1, 256]),
        "dense.kernel": weights(256, 10),
        "dense.bias": weights(10),
    }
    file = write_graph(tmp_path / "nhwc.onnx", nodes, tensors)
    remedy = finding(examine(file), "flattened-head").remedies[0]
    assert remedy.bytes_saved == 4 * (64 - 1) * 4 * 10
    assert remedy.macs_saved == (64 - 1) * 4 * 10


def test_folded_batchnorm(tmp_path):
    """ONNX Runtime's own folding leaves as many bytes and nodes as predicted."""
    nodes, tensors, last = [], {"a.weight": weights(8, 3, 3, 3), "a.bias": weights(8)}, "input"
    tensors["b.weight"] = weights(4, 8, 3, 3)
    for name, channels, more in (("a", 8, ["a.bias"]), ("b", 4, [])):
        inputs = [last, f"{name}.weight", *more]
        nodes.append(helper.make_node("Conv", inputs, [f"{name}1"]))
        for i, part in enumerate(("scale", "shift", "mean", "var")):
            tensors[f"{name}.norm.{part}"] = np.abs(weights(channels, seed=i)) + 1
        parts = [f"{name}.norm.{part}" for part in ("scale", "shift", "mean", "var")]
        nodes.append(helper.make_node("BatchNormalization", [f"{name}1", *parts], [f"{name}2"]))
        last = f"{name}2"
    before = examine(write_graph(tmp_path / "norms.onnx", nodes, tensors))
    after = examine(basic(tmp_path / "norms.onnx"))
    (remedy,) = finding(before, "unfused-batchnorm").remedies
    saved = before.contents.stored_bytes - after.contents.stored_bytes
    assert remedy.bytes_saved == saved == 16 * 8 + 12 * 4
    assert remedy.nodes_saved == len(nodes) - len(
        onnx.load(tmp_path / "basic-norms.onnx").graph.node
    )
    assert "unfused-batchnorm" not in codes(after)


def test_batchnorm_whose_factors_are_computed(tmp_path):
    """Behind an Identity no factor is stored with it: it is named, and no bytes are promised."""
    names = ("scale", "shift", "mean", "var")
    nodes = [
        helper.make_node("Conv", ["input", "conv.weight"], ["a"]),
        *(helper.make_node("Identity", [name], [f"{name}.x"]) for name in names),
        helper.make_node("BatchNormalization", ["a", *(f"{x}.x" for x in names)], ["logits"]),
    ]
    tensors = {"conv.weight": FILTERS["conv.weight"], **{x: np.ones(8, "f4") for x in names}}
    examined = examine(write_graph(tmp_path / "norm.onnx", nodes, tensors))
    assert finding(examined, "unfused-batchnorm").remedies[0].bytes_saved == 0


def test_batchnorm_that_others_read_too_stays(tmp_path):
    """Where a convolution's output has a second reader, folding would change that one."""
    nodes = [
        helper.make_node("Conv", ["input", "w"], ["a"]),
        helper.make_node("BatchNormalization", ["a", "s", "t", "m", "v"], ["b"]),
        helper.make_node("Add", ["a", "b"], ["logits"]),
    ]
    norm = {name: np.abs(weights(4)) for name in "stmv"}
    file = write_graph(tmp_path / "two.onnx", nodes, {"w": weights(4, 3, 3, 3), **norm})
    assert "unfused-batchnorm" not in codes(examine(file))


def test_folded_constants(tmp_path):
    """Nodes on constants alone: what ONNX Runtime leaves, in bytes and nodes."""
    nodes = [
        helper.make_node("Transpose", ["stored"], ["turned"], perm=[1, 0]),
        helper.make_node("Mul", ["turned", "scale"], ["weight"]),
        helper.make_node("Flatten", ["input"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weight"], ["logits"]),
    ]
    tensors = {"stored": weights(10, 192), "scale": weights(192, 1)}
    before = examine(write_graph(tmp_path / "fold.onnx", nodes, tensors))
    after = read_onnx(basic(tmp_path / "fold.onnx"))
    (remedy,) = finding(before, "foldable-constants").remedies
    assert remedy.bytes_saved == before.contents.stored_bytes - after.contents.stored_bytes == 768
    assert remedy.nodes_saved == len(nodes) - len(after.model.graph.node) == 2
    assert remedy.macs_saved == 0


def test_constants_that_grow_are_told_as_a_cost(tmp_path):
    """Folding an Expand stores the large result: less than 0 is saved."""
    nodes = [
        helper.make_node("Expand", ["one", "shape"], ["mask"]),
        helper.make_node("Mul", ["input", "mask"], ["logits"]),
    ]
    tensors = {"one": weights(1, 1, 1, 1), "shape": np.array([1, 3, 8, 8])}
    before = examine(write_graph(tmp_path / "grow.onnx", nodes, tensors))
    (remedy,) = finding(before, "foldable-constants").remedies
    assert remedy.bytes_saved == 4 + 4 * 8 - 3 * 64 * 4


def test_quantised_weights_are_not_to_be_folded(tmp_path):
    """Their DequantizeLinear is there on purpose: folding would undo the quantisation."""
    nodes = [
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["w"]),
        helper.make_node("Conv", ["input", "w"], ["logits"]),
    ]
    tensors = {
        "q": np.ones((4, 3, 3, 3), np.int8),
        "scale": np.float32(0.1),
        "zero": np.int8(0),
    }
    file = write_graph(tmp_path / "qdq.onnx", nodes, tensors)
    assert "foldable-constants" not in codes(examine(file))


def test_a_fixed_batch_lets_shapes_be_folded(tmp_path):
    """With the batch fixed, ONNX Runtime removes as many nodes as predicted."""
    nodes = [
        helper.make_node("Shape", ["input"], ["dims"]),
        helper.make_node("Gather", ["dims", "zero"], ["n"]),
        helper.make_node("Concat", ["n", "rest"], ["target"], axis=0),
        helper.make_node("Expand", ["token", "target"], ["tokens"]),
        helper.make_node("Concat", ["input", "tokens"], ["logits"], axis=1),
    ]
    tensors = {"zero": np.array([0]), "rest": np.array([1, 8, 8]), "token": weights(1, 1, 8, 8)}
    free = write_graph(tmp_path / "free.onnx", nodes, tensors)
    (remedy,) = finding(examine(free), "dynamic-batch").remedies
    fixed = write_graph(tmp_path / "fixed.onnx", nodes, tensors, shape=(1, 3, 8, 8))
    left = [read_onnx(basic(file)) for file in (free, fixed)]
    nodes_left = [len(net.model.graph.node) for net in left]
    assert remedy.nodes_saved == nodes_left[0] - nodes_left[1] == 4
    stored = [net.contents.stored_bytes for net in left]
    assert remedy.bytes_saved == stored[0] - stored[1]
    assert "dynamic-batch" not in codes(examine(fixed))


def test_an_old_opset_is_converted(tmp_path):
    """Below 13 it is named; what onnx's converter makes of it is not."""
    file = convolutional(tmp_path / "old.onnx", FILTERS, opset=11)
    assert finding(examine(file), "old-opset").evidence[0].startswith("opset 11")
    new = onnx.version_converter.convert_version(onnx.load(file), 13)
    onnx.save(new, tmp_path / "new.onnx")
    assert "old-opset" not in codes(examine(tmp_path / "new.onnx"))


def test_copies_and_what_nobody_reads(tmp_path):
    """Removed from the file, they leave as many bytes as predicted."""
    nodes = [
        helper.make_node("Conv", ["input", "a.weight"], ["x"], pads=[1] * 4),
        helper.make_node("Conv", ["x", "b.weight"], ["y"], pads=[1] * 4),
        helper.make_node("Conv", ["y", "c.weight"], ["logits"], pads=[1] * 4),
    ]
    same = weights(3, 3, 3, 3)
    tensors = {f"{name}.weight": same for name in "abc"} | {"old.weight": weights(7, 7, 3, 3)}
    before = examine(write_graph(tmp_path / "copies.onnx", nodes, tensors))
    for node in nodes:
        node.input[1] = "a.weight"
    once = write_graph(
        tmp_path / "once.onnx", nodes, {"a.weight": same, "old.weight": tensors["old.weight"]}
    )
    none = write_graph(tmp_path / "none.onnx", nodes, {"a.weight": same})
    sizes = [
        x.stored_bytes for x in (before.contents, *(read_onnx(f).contents for f in (once, none)))
    ]
    assert finding(before, "duplicates").remedies[0].bytes_saved == sizes[0] - sizes[1]
    assert finding(before, "unused-initializers").remedies[0].bytes_saved == sizes[1] - sizes[2]
    assert not {"duplicates", "unused-initializers"} & codes(examine(none))


def test_float64_as_float32(tmp_path):
    """Half of the bytes, in a state dict as in a graph."""
    state = {"a.weight": torch.randn(8, 8, dtype=torch.float64), "a.bias": torch.randn(8)}
    save_file(state, tmp_path / "double.safetensors")
    save_file({k: v.float() for k, v in state.items()}, tmp_path / "single.safetensors")
    before, after = (examine(tmp_path / f"{x}.safetensors") for x in ("double", "single"))
    (remedy,) = finding(before, "float64").remedies
    assert remedy.bytes_saved == before.contents.stored_bytes - after.contents.stored_bytes == 256
    assert "float64" not in codes(after)


@pytest.mark.parametrize("made", [torch.optim.Adam, torch.optim.SGD])
def test_the_optimizer_state_left_out(tmp_path, made: Callable[..., torch.optim.Optimizer]):
    """A checkpoint of a training, and the same without what only going on needs."""
    module = Head(flatten=True, hidden=None)
    more = {"momentum": 0.9} if made is torch.optim.SGD else {}
    optimizer = made(module.parameters(), lr=0.1, **more)
    module(torch.randn(2, 3, 8, 8)).sum().backward()
    optimizer.step()
    whole = {"epoch": 3, "model": module.state_dict(), "optimizer": optimizer.state_dict()}
    torch.save(whole, tmp_path / "whole.pt")
    torch.save(module.state_dict(), tmp_path / "alone.pt")
    before, after = examine(tmp_path / "whole.pt"), examine(tmp_path / "alone.pt")
    saved = before.contents.stored_bytes - after.contents.stored_bytes
    assert finding(before, "optimizer-state").remedies[0].bytes_saved == saved
    assert before.contents.parameters == after.contents.parameters
    assert before.findings[0].code == "optimizer-state"
    assert "optimizer-state" not in codes(after)
    names = {tensor.name for tensor in read_pickle(tmp_path / "whole.pt").tensors}
    assert "conv.weight" in names


def test_pruned_zeros_stored_as_a_mask(tmp_path):
    """The prediction is what a bit mask and the other weights really take."""
    weight = weights(64, 64)
    weight[np.abs(weight) < 1] = 0
    save_file({"a.weight": torch.from_numpy(weight)}, tmp_path / "pruned.safetensors")
    before = examine(tmp_path / "pruned.safetensors")
    packed = np.packbits(weight != 0).nbytes + weight[weight != 0].nbytes
    (remedy,) = finding(before, "stored-zeros").remedies
    assert remedy.bytes_saved == weight.nbytes - packed
    assert before.contents.layers[0].zeros == np.count_nonzero(weight == 0)


def weak(fraction: float) -> Mapping[str, np.ndarray[Any, Any]]:
    """Filters of which the first are close to nothing."""
    filters = {name: copy.copy(value) for name, value in FILTERS.items()}
    for value in filters.values():
        value[: int(fraction * len(value))] *= WEAK / 100
    return filters


def test_weak_filters_removed(tmp_path):
    """With them goes what reads them: the file without is smaller by just as much."""
    filters = weak(0.25)
    before = examine(convolutional(tmp_path / "weak.onnx", filters))
    (remedy,) = finding(before, "weak-filters").remedies
    head = weights(10, 16 * 16, seed=3).reshape(10, 16, 16)[:, 4:].reshape(10, -1)
    kept = {
        "conv.weight": filters["conv.weight"][2:],
        "second.weight": filters["second.weight"][4:, 2:],
        "head.weight": head,
    }
    after = examine(convolutional(tmp_path / "kept.onnx", kept))
    saved = gone(before.contents, after.contents)
    assert (remedy.bytes_saved, remedy.macs_saved) == saved
    assert "weak-filters" not in codes(after)


def test_most_filters_of_zeros(tmp_path):
    """The median is 0 then, and under a tenth of it is nothing: they are found all the same."""
    filters = {name: copy.copy(value) for name, value in FILTERS.items()}
    filters["second.weight"] = weights(10, 8, 3, 3, seed=1)
    filters["second.weight"][:6] = 0
    found = finding(examine(convolutional(tmp_path / "zeros.onnx", filters)), "weak-filters")
    assert found.evidence == ("second.weight: 6 of 10 (60 %) are 0 throughout",)
    assert found.remedies[0].bytes_saved == 4 * 6 * (8 * 9 + 16 * 10)


def test_removal_is_what_pruning_does(tmp_path):
    """The same figures as torch-pruning's, through BatchNorm and a depthwise convolution."""
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(3, 10, 3, bias=False),
        nn.BatchNorm2d(10),
        nn.ReLU(),
        nn.Conv2d(10, 10, 3, groups=10),
        nn.ReLU(),
        nn.Conv2d(10, 20, 1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(20, 5),
    ).eval()
    net = read_onnx(exported(module, tmp_path / "before.onnx"))
    pruned = prune_filters(module, ["0", "5"], 0.1, torch.zeros(1, 3, *SIZE))
    after = read_onnx(exported(pruned, tmp_path / "after.onnx")).contents
    convolutions = [node for node in net.graph.nodes if node.op_type == "Conv"]
    cut = {id(convolutions[0]): 1, id(convolutions[2]): 2}
    size, macs = removal(net, cut)
    assert (size, macs) == (
        net.contents.stored_bytes - after.stored_bytes,
        (net.contents.macs or 0) - (after.macs or 0),
    )


def test_filters_that_others_add_to_are_not_counted(tmp_path):
    """Where maps are added, a filter can't go alone: named, but without an effect."""
    filter_weights = weights(8, 3, 3, 3)
    filter_weights[0] = 0
    nodes = [
        helper.make_node("Conv", ["input", "conv.weight"], ["a"]),
        helper.make_node("Add", ["a", "other"], ["b"]),
        helper.make_node("GlobalAveragePool", ["b"], ["logits"]),
    ]
    tensors = {"conv.weight": filter_weights, "other": weights(8, 1, 1)}
    found = finding(examine(write_graph(tmp_path / "add.onnx", nodes, tensors)), "weak-filters")
    assert found.remedies[0].bytes_saved == found.remedies[0].macs_saved == 0
    assert "no filter can go alone" in found.evidence[-1]


def test_filters_that_two_layers_share_are_counted_once(tmp_path):
    """They go from both or from none: named once, and without an effect."""
    shared = weights(3, 3, 3, 3)
    shared[0] = 0
    nodes = [
        helper.make_node("Conv", [start, "conv.weight"], [end], pads=[1] * 4)
        for start, end in (("input", "a"), ("a", "b"))
    ]
    nodes.append(helper.make_node("Conv", ["b", "next"], ["logits"]))
    tensors = {"conv.weight": shared, "next": weights(4, 3, 3, 3)}
    found = finding(examine(write_graph(tmp_path / "two.onnx", nodes, tensors)), "weak-filters")
    assert found.remedies[0].bytes_saved == found.remedies[0].macs_saved == 0
    assert found.evidence[-1].startswith("in 1 layer of these no filter can go alone")


@pytest.mark.parametrize(
    "nodes",
    [
        [  # a filter of a depthwise convolution goes with the one before it, or not at all
            helper.make_node("Conv", ["input", "weak"], ["a"], group=3),
            helper.make_node("Conv", ["a", "next"], ["logits"]),
        ],
        [  # a mean over the channels reads them all
            helper.make_node("Conv", ["input", "weak"], ["a"]),
            helper.make_node("ReduceMean", ["a", "axes"], ["b"], keepdims=1),
            helper.make_node("Conv", ["b", "next"], ["logits"]),
        ],
    ],
)
def test_filters_that_cannot_go_alone_have_no_effect(tmp_path, nodes):
    """What would have to go with them is not known, so nothing is promised."""
    grouped = len(nodes) == 2
    weak_weights = weights(3, 1 if grouped else 3, 3, 3)
    weak_weights[0] = 0
    channels = 3 if grouped else 1
    tensors = {"weak": weak_weights, "next": weights(4, channels, 3, 3), "axes": np.array([1])}
    found = finding(examine(write_graph(tmp_path / "f.onnx", nodes, tensors)), "weak-filters")
    assert found.remedies[0].bytes_saved == found.remedies[0].macs_saved == 0


def low_rank_weights(rows: int, columns: int, rank: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Of the given rank, with a little noise."""
    product = weights(rows, rank) @ weights(rank, columns, seed=1)
    noisy: np.ndarray[Any, np.dtype[np.float32]] = product + np.float32(1e-3) * weights(
        rows, columns, seed=2
    )
    return noisy


@pytest.mark.parametrize("transposed", [False, True])
def test_a_layer_split_by_svd(tmp_path, transposed):
    """The two factors have the predicted bytes and MACs, and hold the predicted energy."""
    weight = low_rank_weights(192, 96, 8)
    if transposed:
        node = helper.make_node("Gemm", ["flat", "fc.weight"], ["logits"], transB=1)
    else:
        node = helper.make_node("MatMul", ["flat", "fc.weight"], ["logits"])
    flatten = helper.make_node("Flatten", ["input"], ["flat"])
    stored = weight.T if transposed else weight
    before = examine(write_graph(tmp_path / "fc.onnx", [flatten, node], {"fc.weight": stored}))
    (remedy,) = finding(before, "low-rank").remedies
    left, values, right = np.linalg.svd(weight, full_matrices=False)
    energy = np.cumsum(values**2) / np.sum(values**2)
    rank = int(np.argmax(energy >= ENERGY)) + 1
    nodes = [
        flatten,
        helper.make_node("MatMul", ["flat", "left"], ["between"]),
        helper.make_node("MatMul", ["between", "right"], ["logits"]),
    ]
    factors = {"left": left[:, :rank] * values[:rank], "right": right[:rank]}
    after = read_onnx(write_graph(tmp_path / "split.onnx", nodes, factors)).contents
    assert (remedy.bytes_saved, remedy.macs_saved) == gone(before.contents, after)
    error = np.linalg.norm(factors["left"] @ factors["right"] - weight) / np.linalg.norm(weight)
    assert error <= np.sqrt(1 - ENERGY)


def test_a_large_layer_is_projected(tmp_path):
    """Above 1,024 rows a random subspace finds the rank, never less than the least one."""
    save_file(
        {"a.weight": torch.from_numpy(low_rank_weights(1100, 1300, 20))}, tmp_path / "l.safetensors"
    )
    (tensor,) = examine(tmp_path / "l.safetensors").contents.tensors
    found = rank_of(tensor)
    values = np.linalg.svd(np.asarray(tensor.values(), np.float32), compute_uv=False)
    least = int(np.argmax(np.cumsum(values**2) >= ENERGY * np.sum(values**2))) + 1
    assert found is not None and least <= found.rank <= 20


def test_random_weights_are_of_full_rank(tmp_path):
    """Splitting them would make them larger: no finding."""
    save_file({"a.weight": torch.randn(256, 256)}, tmp_path / "full.safetensors")
    assert "low-rank" not in codes(examine(tmp_path / "full.safetensors"))


def test_what_is_missing_is_said_and_heeded(tmp_path):
    """Class names, preprocessing, provenance: three findings, none once the file says them."""
    wanted = {"no-class-names", "no-preprocessing", "no-provenance"}
    bare = examine(convolutional(tmp_path / "bare.onnx", FILTERS))
    assert wanted <= codes(bare)
    said = {
        "deploybench.class_names": '["a", "b"]',
        "deploybench.preprocess": "{}x",
        "deploybench.key": "k",
    }
    told = examine(convolutional(tmp_path / "told.onnx", FILTERS, metadata=said))
    assert not wanted & codes(told)
    made_up = {**said, "deploybench.class_names_are_placeholders": "true"}
    file = convolutional(tmp_path / "made-up.onnx", FILTERS, metadata=made_up)
    assert "placeholder-class-names" in codes(examine(file))


def test_worst_come_first(tmp_path):
    """By the share of bytes or MACs that would go; what is missing stands last."""
    tensors = {**FILTERS, "old.weight": weights(64, 64)}
    found = examine(convolutional(tmp_path / "order.onnx", tensors)).findings
    assert found[0].code == "flattened-head" or found[0].code == "unused-initializers"
    saved = [max(x.bytes_saved for x in one.remedies) for one in found]
    assert saved[:2] == sorted(saved[:2], reverse=True)
    assert [one.code for one in found[-3:]] == [
        "no-class-names",
        "no-preprocessing",
        "no-provenance",
    ]


@pytest.mark.parametrize("side", [64, 1100])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_diverged_have_no_rank(tmp_path, side, value):
    """A training that went wrong is what one looks into: its file is examined like any."""
    matrix = weights(side, side)
    matrix[0, 0] = value
    state = {"a.weight": torch.from_numpy(matrix), "b.weight": torch.full((4, 3, 3, 3), value)}
    save_file(state, tmp_path / "diverged.safetensors")
    assert "low-rank" not in codes(examine(tmp_path / "diverged.safetensors"))
