from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from export.models import revisited
from export.models.revisited import (
    BottleneckResBlock,
    DepthwiseResBlock,
    FireResBlock,
    ResBlock,
    SkipConn2d,
)

PARAMETERS = {
    "base": 136_380,
    "v1": 136_430,
    "v2": 136_500,
    "v3": 136_354,
    "v4": 136_536,
    "v5": 137_066,
    "v6": 136_960,
    "alpha": 131_970,
}
BLOCKS = [ResBlock, FireResBlock, DepthwiseResBlock, BottleneckResBlock]


def build(name: str, *args) -> Any:
    """The network in eval mode."""
    return getattr(revisited, name)(*args).eval()


@pytest.mark.parametrize(("name", "count"), PARAMETERS.items())
def test_parameters(name, count):
    """Each network has exactly the paper's number of parameters at 10 classes."""
    assert sum(parameter.numel() for parameter in build(name).parameters()) == count


@pytest.mark.parametrize("name", PARAMETERS)
def test_every_convolution_has_a_bias_and_a_norm(name):
    """A BatchNorm of the same width follows each convolution, which has a bias."""
    layers = list(build(name).modules())
    convolutions = [i for i, layer in enumerate(layers) if isinstance(layer, nn.Conv2d)]
    norms = [layer for layer in layers if isinstance(layer, nn.BatchNorm2d)]
    assert len(convolutions) == len(norms)
    for i in convolutions:
        assert layers[i].bias is not None
        assert layers[i + 1].num_features == layers[i].out_channels


@pytest.mark.parametrize("name", PARAMETERS)
@pytest.mark.parametrize("size", [(32, 32), (28, 45), (4, 4)])
def test_output_shape(name, size):
    """Logits are (N, classes), also where the pooling leaves a row over."""
    assert build(name, 7, size)(torch.zeros(2, 3, *size)).shape == (2, 7)


@pytest.mark.parametrize("name", PARAMETERS)
def test_exports_with_a_dynamic_batch(name):
    """torch.export takes the network with any number of images, and it computes the same."""
    module = build(name)
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    batch = torch.export.Dim("batch", min=1, max=64)
    program = torch.export.export(module, (images,), dynamic_shapes=({0: batch},))
    five = torch.cat((images, images, images[:1]))
    torch.testing.assert_close(program.module()(five), module(five))


@pytest.mark.parametrize("name", ["v1", "v3", "v4", "v5"])
def test_reconstructions_say_so(name):
    """Where the paper leaves the layout open the docstring says reconstruction."""
    assert "reconstruction" in getattr(revisited, name).__doc__


@pytest.mark.parametrize("name", PARAMETERS)
def test_too_small_an_input_is_named(name):
    """An input that leaves no map is refused by its size."""
    with pytest.raises(ValueError, match="at least 4x4 pixels, not 32x3"):
        build(name, 10, (32, 3))


@pytest.mark.parametrize("block", BLOCKS)
def test_skip_is_the_identity_where_channels_agree(block):
    """A block has a SkipConn2d only where the width changes."""
    assert isinstance(block(6, 6).skip, nn.Identity)
    assert isinstance(block(6, 8).skip, SkipConn2d)
    assert block(6, 8)(torch.zeros(2, 6, 5, 5)).shape == (2, 8, 5, 5)


def test_odd_fire_block_gives_the_channel_to_3x3():
    """Of five channels the 1x1 half has two and the 3x3 half three."""
    block: Any = FireResBlock(3, 5)
    expand = block.body[2]
    assert (expand.pointwise[0].out_channels, expand.spatial[0].out_channels) == (2, 3)


@pytest.mark.parametrize(
    ("name", "connections"),
    [
        ("base", set()),
        ("v6", set()),
        ("v2", {(0, 2)}),
        ("alpha", {(source, block) for block in range(2, 7) for source in range(block - 1)}),
    ],
)
def test_dense_connections(name, connections):
    """v2 connects image and block 2; alpha each block with all stages before its input."""
    names = {f"{source}_to_{block}" for source, block in connections}
    assert set(build(name).skips) == names


def test_dense_connections_reach_the_output():
    """Each of alpha's connections changes the logits."""
    module = build("alpha")
    images = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    logits = module(images)
    for skip in module.skips.values():
        norm = skip[1][1]
        norm.weight.data.mul_(2)
        assert not torch.equal(module(images), logits)
        norm.weight.data.div_(2)
