"""Deterministic weights for networks that nobody trained: outputs depend on the image."""

from __future__ import annotations

import hashlib
import math
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from export.models.vgg import VGG

_VGG_LINEAR_STD = 0.01
_BRANCH_GAIN = 0.5


@runtime_checkable
class Residual(Protocol):
    """A block that adds what its layers answer to what it was given."""

    def closing_norms(self) -> list[nn.BatchNorm2d]:
        """The norms through which the layers enter the sum."""


def seeded(module: nn.Module, calibration: Tensor | None = None) -> nn.Module:
    """Give ``module`` deterministic weights under which outputs depend on the image.

    Each parameter is drawn from a generator seeded by its own name, so that the
    variants of a family share their backbone bit by bit. Convolutions get
    Kaiming's normal distribution (fan out, ReLU) and zero biases; Linear layers
    torchvision's N(0, 0.01) in a VGG and Kaiming's (fan in) elsewhere. Torch's
    own defaults make a VGG-19 answer every photograph alike.

    What a residual block adds is damped by half, after the zero that ResNets
    are trained from (Goyal et al., 2017, arXiv:1706.02677): at full strength a
    deep untrained network is chaotic, each block enlarges a small difference,
    and INT8's rounding would be judged by that and not by its size.

    ``calibration`` holds preprocessed images ``(N, 3, H, W)``, N at least 2, of
    the module's input size: BatchNorm takes its running statistics from one
    pass over them. Without it they stay at mean 0 and variance 1. Returns the
    same module, in eval mode.
    """
    for path, layer in module.named_modules():
        if isinstance(layer, nn.Conv2d):
            # A depthwise filter's output feeds one channel only: torch's own
            # fan out would make such layers vanish.
            fan_out = layer.weight[0, 0].numel() * layer.out_channels / layer.groups
            _draw(layer, path, math.sqrt(2 / fan_out))
        elif isinstance(layer, nn.Linear):
            kaiming = math.sqrt(2 / layer.in_features)
            _draw(layer, path, _VGG_LINEAR_STD if isinstance(module, VGG) else kaiming)
        elif isinstance(layer, _BatchNorm):
            layer.reset_parameters()
    for block in module.modules():
        for norm in block.closing_norms() if isinstance(block, Residual) else ():
            nn.init.constant_(norm.weight, _BRANCH_GAIN)
    if calibration is not None:
        _calibrate(module, calibration)
    return module.eval()


@torch.no_grad()
def _draw(layer: nn.Conv2d | nn.Linear, path: str, std: float) -> None:
    """Fill the weight from a generator of its own; zero the bias."""
    digest = hashlib.sha256(f"{path}.weight".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:7]))
    layer.weight.normal_(0, std, generator=generator)
    if layer.bias is not None:
        layer.bias.zero_()


@torch.no_grad()
def _calibrate(module: nn.Module, images: Tensor) -> None:
    """Take the BatchNorm statistics from one pass over ``images``."""
    norms = [layer for layer in module.modules() if isinstance(layer, _BatchNorm)]
    if not norms:
        return
    if images.ndim != 4 or len(images) < 2:
        raise ValueError(f"BatchNorm needs images (N >= 2, 3, H, W), not {tuple(images.shape)}")
    momenta = [norm.momentum for norm in norms]
    module.eval()  # no dropout, only the norms learn
    for norm in norms:
        norm.train()
        norm.momentum = None  # the plain average over what was seen
    module(images.contiguous(memory_format=torch.channels_last))  # a third faster
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
