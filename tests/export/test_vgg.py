from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from export.models.vgg import FixedAveragePool2d, vgg19, vgg19_gap
from export.weights import read_checkpoint

SHARED = Path(__file__).parents[2].parent / "shared"
CHECKPOINT = SHARED / "checkpoints" / "vgg19-gap_plants40.safetensors"
CONVOLUTIONS = (0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34)


def meta(builder, *args) -> Any:
    """The network without memory for its weights."""
    with torch.device("meta"):
        return builder(*args)


def parameters(module: nn.Module) -> int:
    """How many numbers are learnt."""
    return sum(parameter.numel() for parameter in module.parameters())


def convolution_macs(input_size: tuple[int, int]) -> int:
    """Multiply-accumulates of all convolutions for one image."""
    module = meta(vgg19, 1000, input_size)
    counts: list[int] = []
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(
                lambda layer, _, out: counts.append(layer.weight.numel() * out[0, 0].numel())
            )
    module(torch.empty(1, 3, *input_size, device="meta"))
    return sum(counts)


def test_parameters():
    """VGG-19 has its published number of parameters, most of them fully connected."""
    module = meta(vgg19)
    assert parameters(module) == 143_667_240
    assert parameters(module.classifier) == 123_642_856


@pytest.mark.parametrize("size", [(224, 224), (160, 160)])
def test_keys_are_torchvisions(size):
    """The state dict has torchvision's keys and nothing else, at every input size."""
    layers = [f"features.{n}" for n in CONVOLUTIONS] + [f"classifier.{n}" for n in (0, 3, 6)]
    keys = [f"{layer}.{kind}" for layer in layers for kind in ("weight", "bias")]
    assert list(meta(vgg19, 1000, size).state_dict()) == keys


def test_gap_has_one_linear():
    """vgg19-gap has the same convolutions and one Linear of 512 inputs as its head."""
    gap, full = meta(vgg19_gap, 40).state_dict(), meta(vgg19).state_dict()
    assert [key for key in gap if key not in full] == ["classifier.weight", "classifier.bias"]
    assert gap["classifier.weight"].shape == (40, 512)
    assert all(gap[key].shape == full[key].shape for key in gap if key in full)


def test_scaled_160():
    """At 160x160 the parameters stay and the convolutions' MACs shrink with the area."""
    assert parameters(meta(vgg19, 1000, (160, 160))) == 143_667_240
    assert convolution_macs((160, 160)) * 224**2 == convolution_macs((224, 224)) * 160**2


def test_no_pooling_where_the_map_fits():
    """At 224x224 the map is 7x7 already and nothing is pooled."""
    assert isinstance(meta(vgg19).avgpool, nn.Identity)


@pytest.mark.parametrize("size", [(5, 5), (1, 1), (5, 7), (9, 12), (14, 3)])
def test_fixed_pool_equals_adaptive(size):
    """The two matrix products compute what AdaptiveAvgPool2d((7, 7)) does."""
    maps = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0))
    expected = nn.AdaptiveAvgPool2d((7, 7))(maps)
    torch.testing.assert_close(FixedAveragePool2d(size, (7, 7))(maps), expected)


def test_fixed_pool_exports_as_two_products():
    """No index arithmetic is left for the ONNX exporter to make Gather nodes of."""
    program = torch.export.export(FixedAveragePool2d((5, 5), (7, 7)), (torch.zeros(2, 3, 5, 5),))
    calls = [node.target for node in program.graph.nodes if node.op == "call_function"]
    assert calls == [torch.ops.aten.matmul.default] * 2


@pytest.mark.parametrize("size", [(160, 160), (224, 224), (64, 96)])
@pytest.mark.parametrize("builder", [vgg19, vgg19_gap])
def test_output_shape(builder, size):
    """Logits are (N, classes) at every input size."""
    images = torch.empty(2, 3, *size, device="meta")
    assert meta(builder, 7, size)(images).shape == (2, 7)


@pytest.mark.parametrize("builder", [vgg19, vgg19_gap])
def test_too_small_an_input_is_named(builder):
    """An input that leaves no map is refused by its size."""
    with pytest.raises(ValueError, match="at least 32x32 pixels, not 224x31"):
        builder(10, (224, 31))


@pytest.mark.skipif(not CHECKPOINT.exists(), reason=f"{CHECKPOINT} is absent")
def test_trained_checkpoint_matches_strictly():
    """A real checkpoint has exactly the keys and shapes of vgg19-gap."""
    module = vgg19_gap(40, (160, 160))
    module.load_state_dict(read_checkpoint(CHECKPOINT).state, strict=True)
