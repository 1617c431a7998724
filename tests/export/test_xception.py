from __future__ import annotations

import io
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from export.models.xception import (
    Block,
    xception,
    xception_flatten,
    xception_flatten_wide,
    xception_gap,
)
from export.weights import apply, read_checkpoint

SHARED = Path(__file__).parents[2].parent / "shared"
CHECKPOINT = SHARED / "checkpoints" / "xception-gap_plants40.safetensors"
PLANTS = SHARED / "data" / "plants40.zip"


def meta(builder, *args) -> Any:
    """The network without memory for its weights."""
    with torch.device("meta"):
        return builder(*args)


def parameters(module: nn.Module) -> int:
    """How many numbers are learnt."""
    return sum(parameter.numel() for parameter in module.parameters())


def test_parameters():
    """The standard Xception has its published number of parameters."""
    assert parameters(meta(xception)) == 22_855_952


@pytest.mark.parametrize(
    ("builder", "weights"),
    [(xception_flatten, 68_157_440), (xception_gap, 524_288), (xception_flatten_wide, 545_259_520)],
)
def test_dense_weights(builder, weights):
    """The head's first layer has one weight per input and unit; flattening makes it huge."""
    assert meta(builder).dense.weight.numel() == weights


def test_wide_is_over_the_protobuf_limit():
    """xception-flatten-wide has 566 M parameters: more than 2 GB in fp32."""
    count = parameters(meta(xception_flatten_wide))
    assert round(count / 1e6) == 566
    assert 4 * count > 2**31


def test_features_of_300x400():
    """A 300x400 image leaves 2048 maps of 10x13."""
    features = meta(xception_flatten).features(torch.empty(1, 3, 300, 400, device="meta"))
    assert features.shape == (1, 2048, 10, 13)


@pytest.mark.parametrize("size", [(7, 7), (71, 72), (224, 224), (299, 300)])
@pytest.mark.parametrize("builder", [xception, xception_gap, xception_flatten])
def test_output_shape(builder, size):
    """The head fits the map at every input size, and logits are (N, classes)."""
    assert meta(builder, 7, size)(torch.empty(2, 3, *size, device="meta")).shape == (2, 7)


@pytest.mark.parametrize("builder", [xception, xception_gap, xception_flatten])
def test_nonsensical_size_is_named(builder):
    """An input that leaves no map is refused by its size."""
    with pytest.raises(ValueError, match="at least 7x7 pixels, not 299x6"):
        builder(10, (299, 6))


def test_skip_passes_what_the_opening_relu_cuts():
    """A block adds its input as it came: the ReLU that opens it is not for the skip."""
    block: Any = Block((4, 4, 4, 4)).eval()
    nn.init.zeros_(block.rep[-1].weight)
    maps = -torch.rand(1, 4, 3, 3)
    before = maps.clone()
    assert torch.equal(block(maps), before)
    assert torch.equal(maps, before)


def test_each_relu_is_used_once():
    """A quantiser takes all uses of one module for one operator, and gives up on several."""
    network = meta(xception_gap)
    uses: Counter[str] = Counter()
    for name, layer in network.named_modules():
        if isinstance(layer, nn.ReLU):
            layer.register_forward_hook(lambda *_, name=name: uses.update([name]))
    network(torch.empty(1, 3, 300, 400, device="meta"))
    assert set(uses.values()) == {1}
    assert len(uses) > 30


def test_no_relu_is_in_place():
    """No ReLU writes into its input, so that an exporter can't get the order wrong."""
    relus = [layer for layer in meta(xception_gap).modules() if isinstance(layer, nn.ReLU)]
    assert relus
    assert not any(relu.inplace for relu in relus)


@pytest.mark.skipif(not CHECKPOINT.exists(), reason=f"{CHECKPOINT} is absent")
def test_trained_checkpoint_matches_strictly():
    """A real checkpoint has exactly the keys and shapes of Xception, counters included."""
    xception(40, (224, 224)).load_state_dict(read_checkpoint(CHECKPOINT).state, strict=True)


@pytest.mark.skipif(
    not (CHECKPOINT.exists() and PLANTS.exists()), reason=f"{CHECKPOINT} or {PLANTS} is absent"
)
def test_trained_checkpoint_recognises_leaves():
    """With trained weights real images are named right: 90 % are; with ReLUs amiss 13 %."""
    weights = read_checkpoint(CHECKPOINT)
    module = apply(xception(40, (224, 224)), None, weights)
    images, species = leaves(20, 224)
    images = (images - torch.tensor(weights.mean)) / torch.tensor(weights.std)
    with torch.inference_mode():
        named = module(images.permute(0, 3, 1, 2).float()).argmax(dim=1)
    right = sum(weights.class_names[i] == name for i, name in zip(named, species, strict=True))
    assert right >= 14


def leaves(count: int, side: int) -> tuple[torch.Tensor, list[str]]:
    """Every n-th validation image as (N, H, W, 3) in 0..1, prepared as in training."""
    with zipfile.ZipFile(PLANTS) as archive:
        names = sorted(name for name in archive.namelist() if "val/" in name and name[-1] != "/")
        chosen = names[:: len(names) // count][:count]
        images = [Image.open(io.BytesIO(archive.read(name))).convert("RGB") for name in chosen]
    bilinear = Image.Resampling.BILINEAR
    images = [image.resize((256, 256), bilinear).resize((side, side), bilinear) for image in images]
    arrays = [np.asarray(image) for image in images]
    return torch.from_numpy(np.stack(arrays)) / 255, [name.split("/")[-2] for name in chosen]
