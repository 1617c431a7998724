"""Xception (Chollet, 2017, arXiv:1610.02357) and its heads.

The state-dict keys are those of the widely used PyTorch port
(Cadene/pretrained-models.pytorch, tstandley/Xception-PyTorch, later timm), so
that its official checkpoint loads. In the port the ReLU that opens a block is
the one that is *not* in place (``rep[0] = nn.ReLU(inplace=False)``): the skip
takes the block's input from before that ReLU, and so it does in Keras, whence
the official weights come. No ReLU here is in place, which says the same thing
and leaves an exporter nothing to get wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

_FEATURES = 2048


class SeparableConv2d(nn.Module):
    """A 3x3 convolution of each channel for itself, then a 1x1 over the channels."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.pointwise = nn.Conv2d(channels, width, 1, bias=False)

    def forward(self, maps: Tensor) -> Tensor:
        """Maps ``(N, channels, H, W)`` to ``(N, width, H, W)``."""
        mixed: Tensor = self.pointwise(self.conv1(maps))
        return mixed


class Block(nn.Module):
    """Separable convolutions of the given widths beside a skip.

    ``widths`` starts with the input's. A block that halves the map or changes
    the width has a 1x1 convolution with BatchNorm for a skip.
    """

    def __init__(
        self, widths: Sequence[int], *, halve: bool = False, start_with_relu: bool = True
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for channels, width in pairwise(widths):
            layers += [nn.ReLU(), SeparableConv2d(channels, width), nn.BatchNorm2d(width)]
        if not start_with_relu:
            del layers[0]
        if halve:
            layers.append(nn.MaxPool2d(3, stride=2, padding=1))
        self.rep = nn.Sequential(*layers)
        self.skip: nn.Module = nn.Identity()
        self.skipbn: nn.Module = nn.Identity()
        if halve or widths[0] != widths[-1]:
            stride = 2 if halve else 1
            self.skip = nn.Conv2d(widths[0], widths[-1], 1, stride=stride, bias=False)
            self.skipbn = nn.BatchNorm2d(widths[-1])

    def forward(self, maps: Tensor) -> Tensor:
        """Maps ``(N, widths[0], H, W)`` to ``(N, widths[-1], H', W')``."""
        added: Tensor = self.rep(maps) + self.skipbn(self.skip(maps))
        return added

    def closing_norms(self) -> list[nn.BatchNorm2d]:
        """The norm through which the convolutions enter the sum with the skip."""
        return [layer for layer in self.rep if isinstance(layer, nn.BatchNorm2d)][-1:]


class Xception(nn.Module):
    """The Xception convolutions and a head.

    ``hidden`` is the width of a Dense + ReLU (``dense``) before the output
    layer, or None; ``flatten`` hands the head every position of the last map
    instead of its mean. ``forward`` takes ``(N, 3, H, W)`` of the input size
    that the network was built for and returns logits ``(N, classes)``.
    """

    def __init__(
        self,
        classes: int,
        input_size: tuple[int, int],
        *,
        hidden: int | None = None,
        flatten: bool = False,
    ) -> None:
        super().__init__()
        height, width = _map_size(input_size)
        self.flatten = flatten
        # One for each use: a quantiser takes all uses of one module for a single operator.
        self.relu1, self.relu2, self.relu3, self.relu4 = (nn.ReLU() for _ in range(4))
        self.conv1 = nn.Conv2d(3, 32, 3, stride=2, bias=False)
        self.bn1 = nn.BatchNorm2d(32)
        self.conv2 = nn.Conv2d(32, 64, 3, bias=False)
        self.bn2 = nn.BatchNorm2d(64)
        self.block1 = Block((64, 128, 128), halve=True, start_with_relu=False)
        self.block2 = Block((128, 256, 256), halve=True)
        self.block3 = Block((256, 728, 728), halve=True)
        for number in range(4, 12):
            self.add_module(f"block{number}", Block((728, 728, 728, 728)))
        self.block12 = Block((728, 728, 1024), halve=True)
        self.conv3 = SeparableConv2d(1024, 1536)
        self.bn3 = nn.BatchNorm2d(1536)
        self.conv4 = SeparableConv2d(1536, _FEATURES)
        self.bn4 = nn.BatchNorm2d(_FEATURES)
        inputs = _FEATURES * height * width if flatten else _FEATURES
        self.dense = None if hidden is None else nn.Linear(inputs, hidden)
        self.relu5 = nn.Identity() if hidden is None else nn.ReLU()
        self.fc = nn.Linear(inputs if hidden is None else hidden, classes)

    def features(self, images: Tensor) -> Tensor:
        """The last maps ``(N, 2048, H', W')`` of images ``(N, 3, H, W)``, after their ReLU."""
        maps = self.relu1(self.bn1(self.conv1(images)))
        maps = self.relu2(self.bn2(self.conv2(maps)))
        for number in range(1, 13):
            maps = self.get_submodule(f"block{number}")(maps)
        maps = self.relu3(self.bn3(self.conv3(maps)))
        last: Tensor = self.relu4(self.bn4(self.conv4(maps)))
        return last

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``(N, classes)`` of images ``(N, 3, H, W)``."""
        maps = self.features(images)
        vectors = torch.flatten(maps, 1) if self.flatten else maps.mean(dim=(2, 3))
        if self.dense is not None:
            vectors = self.relu5(self.dense(vectors))
        logits: Tensor = self.fc(vectors)
        return logits


def xception(classes: int = 1000, input_size: tuple[int, int] = (299, 299)) -> nn.Module:
    """The standard Xception: 22,855,952 parameters at 1000 classes.

    ``input_size`` is (height, width) in pixels, at least 7 each: a
    ``ValueError`` otherwise. So for all builders of this file.
    """
    return Xception(classes, input_size)


def xception_flatten(classes: int = 40, input_size: tuple[int, int] = (300, 400)) -> nn.Module:
    """Every position of the last map flattened into Dense(256).

    300x400 pixels leave 2048 x 10 x 13: 266,240 x 256 = 68,157,440 weights there.
    """
    return Xception(classes, input_size, hidden=256, flatten=True)


def xception_gap(classes: int = 40, input_size: tuple[int, int] = (300, 400)) -> nn.Module:
    """Global average pooling before Dense(256): 2048 x 256 = 524,288 weights there."""
    return Xception(classes, input_size, hidden=256)


def xception_flatten_wide(classes: int = 40, input_size: tuple[int, int] = (300, 400)) -> nn.Module:
    """``xception_flatten`` with Dense(2048): 566 M parameters, over 2 GB as a file."""
    return Xception(classes, input_size, hidden=2048, flatten=True)


def _map_size(input_size: tuple[int, int]) -> tuple[int, int]:
    """Height and width of the last map; a ``ValueError`` where nothing is left."""
    height, width = (_map_length(length) for length in input_size)
    if min(height, width) < 1:
        raise ValueError(
            f"Xception needs an input of at least 7x7 pixels, not {input_size[0]}x{input_size[1]}"
        )
    return height, width


def _map_length(pixels: int) -> int:
    """What the stem (3x3 of stride 2, then 3x3, both unpadded) and four halvings leave."""
    length = (pixels - 3) // 2 + 1 - 2
    for _ in range(4):
        length = (length + 1) // 2
    return length
