"""Module in, module out: filters that are really removed, not zeroed."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch_pruning as tp
from torch import Tensor, nn

from export.models.vgg import VGG, GlobalAveragePool2d

VGG19_PRUNED_LAYERS = tuple(f"features.{index}" for index in (16, 19, 21, 23, 25, 28, 30, 32, 34))
"""The nine deepest convolutions of VGG-19."""
VGG19_PRUNED_FRACTION = 0.1


def prune_filters(
    module: nn.Module, layers: Sequence[str], fraction: float, example: Tensor
) -> nn.Module:
    """Remove the filters of least L2 norm from each named convolution.

    ``int((1 - fraction) * n)`` of a layer's ``n`` filters stay, in their order;
    norms are those before anything is removed, and of equal ones the first go.
    Whatever reads the removed channels shrinks too. ``example`` is one input
    ``(N, 3, H, W)``, of which only the shape matters: it is run once, to find
    who reads what. Changes ``module`` and returns it, in eval mode.

    Raises ``ValueError`` for a fraction outside 0..1, one that leaves a layer
    empty, and a name that is no convolution of the module.
    """
    least = {name: _least(_convolution(module, name), fraction) for name in layers}
    with torch.enable_grad():  # torch-pruning finds the readers by autograd
        graph = tp.DependencyGraph().build_dependency(module, example_inputs=example)
    for name, filters in least.items():
        layer = _convolution(module, name)
        graph.get_pruning_group(layer, tp.prune_conv_out_channels, filters).prune()
    return module.eval()


def prune_vgg19(module: nn.Module) -> nn.Module:
    """VGG-19 without 10 % of the filters of its nine deepest convolutions.

    129,758,566 parameters at 1000 classes. Works with either head and at every
    input size, since only the weights decide. Changes ``module`` and returns
    it; a ``ValueError`` for another network.
    """
    if not isinstance(module, VGG):
        raise ValueError(f"prune_vgg19 operates on a VGG, not on a {type(module).__name__}")
    pool = module.avgpool
    if not isinstance(pool, GlobalAveragePool2d):
        # The map becomes 7x7 whatever the example's size, so that a small one
        # will do; and torch-pruning can't see through our constant matrices.
        module.avgpool = nn.AdaptiveAvgPool2d((7, 7))
    try:
        example = torch.zeros(1, 3, 32, 32)
        return prune_filters(module, VGG19_PRUNED_LAYERS, VGG19_PRUNED_FRACTION, example)
    finally:
        module.avgpool = pool


def _convolution(module: nn.Module, name: str) -> nn.Conv2d:
    """The convolution of that name."""
    layer = dict(module.named_modules()).get(name)
    if not isinstance(layer, nn.Conv2d):
        raise ValueError(f"{name!r} is not a convolution of the {type(module).__name__}")
    return layer


def _least(layer: nn.Conv2d, fraction: float) -> list[int]:
    """The indices of the filters to remove: those of least L2 norm."""
    kept = int((1 - fraction) * layer.out_channels) if 0 <= fraction <= 1 else 0
    if kept < 1:
        raise ValueError(
            f"of {layer.out_channels} filters a fraction of {fraction} can't be removed: "
            "the fraction should be in 0..1 and leave one"
        )
    # Their own norm: torch-pruning's default importance weighs the readers in.
    norms = layer.weight.detach().flatten(1).norm(dim=1)
    order = torch.argsort(norms, stable=True)
    return sorted(order[: layer.out_channels - kept].tolist())
