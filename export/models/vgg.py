"""VGG-19 (Simonyan and Zisserman, 2014, arXiv:1409.1556), configuration E.

The state-dict keys are torchvision's, so that its official checkpoint loads:
``features.N.*`` and ``classifier.{0,3,6}.*``.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

_WIDTHS = (
    64,
    64,
    0,
    128,
    128,
    0,
    256,
    256,
    256,
    256,
    0,
    512,
    512,
    512,
    512,
    0,
    512,
    512,
    512,
    512,
    0,
)
"""Output channels of the 16 convolutions; 0 stands for a pooling that halves the map."""

_STRIDE = 32
_POOLED = (7, 7)


class VGG(nn.Module):
    """Convolutions, a fixed pooling, and one or three fully connected layers.

    ``forward`` takes ``(N, 3, H, W)`` of the input size that the network was
    built for and returns logits ``(N, classes)``.
    """

    def __init__(self, pool: nn.Module, classifier: nn.Module) -> None:
        super().__init__()
        self.features = _features()
        self.avgpool = pool
        self.classifier = classifier

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``(N, classes)`` of images ``(N, 3, H, W)``."""
        maps = self.avgpool(self.features(images))
        logits: Tensor = self.classifier(torch.flatten(maps, 1))
        return logits


class FixedAveragePool2d(nn.Module):
    """``AdaptiveAvgPool2d`` for one known map size, as two constant matrix products.

    The ONNX exporter makes fifteen Gather nodes of the adaptive pooling where
    the sizes don't divide; other tools refuse those.
    """

    rows: Tensor
    columns: Tensor

    def __init__(self, size: tuple[int, int], pooled: tuple[int, int]) -> None:
        super().__init__()
        # Not persistent: torchvision's state dict knows no such entries.
        self.register_buffer("rows", _bins(size[0], pooled[0]), persistent=False)
        self.register_buffer("columns", _bins(size[1], pooled[1]).T.contiguous(), persistent=False)

    def forward(self, maps: Tensor) -> Tensor:
        """Maps ``(N, C, H, W)`` pooled to ``(N, C, *pooled)``."""
        return self.rows @ maps @ self.columns


class GlobalAveragePool2d(nn.Module):
    """The mean of each map; exports as one ReduceMean."""

    def forward(self, maps: Tensor) -> Tensor:
        """Maps ``(N, C, H, W)`` averaged to ``(N, C)``."""
        return maps.mean(dim=(2, 3))


def vgg19(classes: int = 1000, input_size: tuple[int, int] = (224, 224)) -> nn.Module:
    """VGG-19 with its three fully connected layers; 143,667,240 parameters at 1000 classes.

    ``input_size`` is (height, width) in pixels, at least 32 each: a ``ValueError``
    otherwise. The parameters are the same at every input size.
    """
    size = _map_size(input_size)
    pool = nn.Identity() if size == _POOLED else FixedAveragePool2d(size, _POOLED)
    classifier = nn.Sequential(
        nn.Linear(512 * _POOLED[0] * _POOLED[1], 4096),
        nn.ReLU(),
        nn.Dropout(),
        nn.Linear(4096, 4096),
        nn.ReLU(),
        nn.Dropout(),
        nn.Linear(4096, classes),
    )
    return VGG(pool, classifier)


def vgg19_gap(classes: int = 1000, input_size: tuple[int, int] = (224, 224)) -> nn.Module:
    """VGG-19 with global average pooling and one Linear (``classifier.{weight,bias}``).

    ``input_size`` as for ``vgg19``.
    """
    _map_size(input_size)
    return VGG(GlobalAveragePool2d(), nn.Linear(512, classes))


def _features() -> nn.Sequential:
    """The convolutions under torchvision's indices 0..36."""
    layers: list[nn.Module] = []
    channels = 3
    for width in _WIDTHS:
        if width == 0:
            layers.append(nn.MaxPool2d(2))
        else:
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
            channels = width
    return nn.Sequential(*layers)


def _map_size(input_size: tuple[int, int]) -> tuple[int, int]:
    """Height and width of the last map; a ``ValueError`` where nothing is left."""
    height, width = input_size
    if min(height, width) < _STRIDE:
        raise ValueError(
            f"VGG-19 needs an input of at least {_STRIDE}x{_STRIDE} pixels, not {height}x{width}"
        )
    return height // _STRIDE, width // _STRIDE


def _bins(size: int, pooled: int) -> Tensor:
    """The ``(pooled, size)`` matrix of AdaptiveAvgPool: each row averages its own bin."""
    matrix = torch.zeros(pooled, size)
    for row in range(pooled):
        start, end = row * size // pooled, -(-(row + 1) * size // pooled)
        matrix[row, start:end] = 1 / (end - start)
    return matrix
