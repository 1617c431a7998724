from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from export.models.vgg import FixedAveragePool2d, vgg19, vgg19_gap
from export.models.xception import xception
from export.seeded import seeded
from export.surgery import VGG19_PRUNED_LAYERS, prune_filters, prune_vgg19

WIDTHS = [256, *[512] * 8]


@pytest.fixture(scope="module")
def pruned() -> Any:
    """The real thing at full size: built once, and only looked at."""
    return prune_vgg19(vgg19())


@pytest.fixture
def small() -> Any:
    """Two convolutions, a norm, and a Linear that reads 3x3 positions of each channel."""
    network = nn.Sequential(
        nn.Conv2d(3, 10, 3, padding=1),
        nn.BatchNorm2d(10),
        nn.ReLU(),
        nn.Conv2d(10, 20, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(20 * 9, 5),
    )
    return seeded(network)


IMAGES = torch.rand(2, 3, 6, 6, generator=torch.Generator().manual_seed(0))


def largest(layer: nn.Conv2d, count: int) -> torch.Tensor:
    """The indices of the ``count`` filters of largest L2 norm, in order."""
    norms = layer.weight.detach().double().square().sum(dim=(1, 2, 3))
    return norms.topk(count).indices.sort().values


def test_parameters_of_pruned_vgg19(pruned):
    """10 % of the filters of nine layers are gone, and all that read them shrank."""
    assert sum(parameter.numel() for parameter in pruned.parameters()) == 129_758_566
    kept = [pruned.get_submodule(name).out_channels for name in VGG19_PRUNED_LAYERS]
    assert kept == [230, *[460] * 8]
    assert pruned.classifier[0].in_features == 460 * 49


def test_output_shape_of_pruned_vgg19(pruned):
    """The logits keep their shape, and the map still needs no pooling."""
    assert isinstance(pruned.avgpool, nn.Identity)
    with torch.inference_mode():
        assert pruned(torch.zeros(1, 3, 224, 224)).shape == (1, 1000)


def test_survivors_are_the_largest_filters():
    """What stays is the filters of largest norm, with their inputs', biases and readers."""
    whole: Any = seeded(vgg19_gap(10, (64, 64)))
    kept = {
        name: largest(whole.get_submodule(name), int(0.9 * width))
        for name, width in zip(VGG19_PRUNED_LAYERS, WIDTHS, strict=True)
    }
    first, second = whole.get_submodule("features.16"), whole.get_submodule("features.19")
    rows, columns = kept["features.19"], kept["features.16"]
    expected = {
        "features.16.weight": first.weight[columns],
        "features.16.bias": first.bias[columns],
        "features.19.weight": second.weight[rows][:, columns],
        "classifier.weight": whole.classifier.weight[:, kept["features.34"]],
        "features.14.weight": whole.get_submodule("features.14").weight,
    }
    expected = {key: value.detach().clone() for key, value in expected.items()}
    state = prune_vgg19(whole).state_dict()
    assert all(torch.equal(state[key], value) for key, value in expected.items())


def test_norms_are_those_before_anything_is_removed(small):
    """A layer's filters are judged with all their inputs, whatever goes before them."""
    kept = {
        name: largest(small.get_submodule(name), count) for name, count in (("0", 5), ("3", 10))
    }
    expected = small[3].weight[kept["3"]][:, kept["0"]].detach().clone()
    prune_filters(small, ["0", "3"], 0.5, IMAGES)
    assert torch.equal(small[3].weight, expected)


def test_removing_zero_filters_changes_nothing(small):
    """Filters that put out zero are the ones removed, and nobody misses them."""
    for layer, zeros in ((small[0], [1, 2, 9]), (small[3], [0, 5, 6, 7, 13, 19])):
        layer.weight.data[zeros] = 0
        layer.bias.data[zeros] = 0
    expected = small(IMAGES)
    before = copy.deepcopy(small)
    prune_filters(small, ["0", "3"], 0.3, IMAGES)
    assert (small[0].out_channels, small[1].num_features, small[3].out_channels) == (7, 7, 14)
    assert small[7].in_features == 14 * 9
    torch.testing.assert_close(small(IMAGES), expected)
    assert torch.equal(before(IMAGES), expected)


@pytest.mark.parametrize("size", [(64, 64), (224, 224)])
def test_removing_zero_filters_of_a_vgg19_changes_nothing(size):
    """A VGG-19 whose smallest filters are zero answers the same after pruning."""
    module: Any = seeded(vgg19_gap(10, size))
    for name, width in zip(VGG19_PRUNED_LAYERS, WIDTHS, strict=True):
        layer = module.get_submodule(name)
        smallest = torch.ones(width, dtype=torch.bool)
        smallest[largest(layer, int(0.9 * width))] = False
        layer.weight.data[smallest] = 0
    image = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(0))
    expected = module(image)
    torch.testing.assert_close(prune_vgg19(module)(image), expected)


def test_fixed_pooling_survives():
    """A VGG-19 for 160x160 is pruned the same way and keeps its constant pooling."""
    module: Any = prune_vgg19(vgg19(10, (160, 160)))
    assert isinstance(module.avgpool, FixedAveragePool2d)
    assert module.classifier[0].in_features == 460 * 49
    with torch.inference_mode():
        assert module(torch.zeros(1, 3, 160, 160)).shape == (1, 10)


def test_ties_go_in_order(small):
    """Of equal filters the first are removed, so that the result is the same every time."""
    nn.init.ones_(small[0].weight)
    small[0].bias.data = torch.arange(10.0)
    prune_filters(small, ["0"], 0.3, IMAGES)
    assert small[0].bias.tolist() == [3, 4, 5, 6, 7, 8, 9]


@pytest.mark.parametrize("fraction", [-0.1, 0.95, 1, float("nan")])
def test_foolish_fractions_are_refused(small, fraction):
    """A fraction that leaves no filter, or more than there were, is refused."""
    with pytest.raises(ValueError, match="fraction should be"):
        prune_filters(small, ["0"], fraction, IMAGES)


@pytest.mark.parametrize("name", ["7", "nothing"])
def test_only_convolutions_are_pruned(small, name):
    """A name that is no convolution is refused before anything is changed."""
    with pytest.raises(ValueError, match=f"'{name}' is not a convolution"):
        prune_filters(small, ["0", name], 0.5, IMAGES)
    assert small[0].out_channels == 10


def test_prune_vgg19_wants_a_vgg():
    """Another network is refused by its type."""
    with torch.device("meta"), pytest.raises(ValueError, match="not on a Xception"):
        prune_vgg19(xception(10))
