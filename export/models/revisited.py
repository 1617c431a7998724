"""The eight storage-efficient CIFAR-10 networks of "ResNet Revisited" (Hao Tu, UCSD).

The paper gives a parameter count for each; every network here has exactly that
many at 10 classes. It follows that each convolution, depthwise ones included,
has a bias and a BatchNorm after it, and that the ReLU after a block comes after
the skip was added. Where the paper leaves the layout open (v1, v3, v4, v5) it
is reconstructed from the count; ``builder.__doc__`` says so.

Each builder takes the number of classes and an input size (height, width) in
pixels, at least 4 each, a ``ValueError`` otherwise. The networks take
``(N, 3, H, W)`` and return logits ``(N, classes)``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

_IMAGE_CHANNELS = 3
_HIDDEN = 100


class ConvNorm(nn.Sequential):
    """A convolution that keeps the map's size, with a bias and a BatchNorm."""

    def __init__(self, channels: int, width: int, kernel: int, groups: int = 1) -> None:
        super().__init__(
            nn.Conv2d(channels, width, kernel, padding=kernel // 2, groups=groups),
            nn.BatchNorm2d(width),
        )


class SkipConn2d(ConvNorm):
    """A 1x1 convolution + BatchNorm: a skip between different widths (figure 1)."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__(channels, width, 1)


class _SkippedBlock(nn.Module):
    """A body beside a skip, which is the identity where the channels agree."""

    def __init__(self, body: nn.Sequential, channels: int, width: int) -> None:
        super().__init__()
        self.body = body
        self.skip = nn.Identity() if channels == width else SkipConn2d(channels, width)

    def forward(self, maps: Tensor) -> Tensor:
        """Maps ``(N, channels, H, W)`` to ``(N, width, H, W)``; no ReLU after the sum."""
        added: Tensor = self.body(maps) + self.skip(maps)
        return added

    def closing_norms(self) -> list[nn.BatchNorm2d]:
        """The norms through which the body enters the sum: two where it ends side by side."""
        return [layer for layer in self.body[-1].modules() if isinstance(layer, nn.BatchNorm2d)]


class ResBlock(_SkippedBlock):
    """Two 3x3 convolutions (figure 2)."""

    def __init__(self, channels: int, width: int) -> None:
        body = nn.Sequential(ConvNorm(channels, width, 3), nn.ReLU(), ConvNorm(width, width, 3))
        super().__init__(body, channels, width)


class _Expand(nn.Module):
    """1x1 and 3x3 convolutions of the same maps, side by side.

    Where the width is odd the 3x3 half has the extra channel.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.pointwise = ConvNorm(channels, width // 2, 1)
        self.spatial = ConvNorm(channels, width - width // 2, 3)

    def forward(self, maps: Tensor) -> Tensor:
        return torch.cat((self.pointwise(maps), self.spatial(maps)), dim=1)


class FireResBlock(_SkippedBlock):
    """Squeeze by 1x1 to the input's width, expand by 1x1 and 3x3 (figure 3)."""

    def __init__(self, channels: int, width: int) -> None:
        squeeze = ConvNorm(channels, channels, 1)
        body = nn.Sequential(squeeze, nn.ReLU(), _Expand(channels, width))
        super().__init__(body, channels, width)


class DepthwiseResBlock(_SkippedBlock):
    """Two depthwise separable convolutions (figure 4)."""

    def __init__(self, channels: int, width: int) -> None:
        body = nn.Sequential(
            ConvNorm(channels, channels, 3, groups=channels),
            nn.ReLU(),
            ConvNorm(channels, width, 1),
            nn.ReLU(),
            ConvNorm(width, width, 3, groups=width),
            nn.ReLU(),
            ConvNorm(width, width, 1),
        )
        super().__init__(body, channels, width)


class BottleneckResBlock(_SkippedBlock):
    """1x1, 3x3, 1x1 with the input's width in the middle (figure 5)."""

    def __init__(self, channels: int, width: int) -> None:
        body = nn.Sequential(
            ConvNorm(channels, channels, 1),
            nn.ReLU(),
            ConvNorm(channels, channels, 3),
            nn.ReLU(),
            ConvNorm(channels, width, 1),
        )
        super().__init__(body, channels, width)


class Revisited(nn.Module):
    """Blocks with a ReLU each, max pooling after some of them, then a head.

    ``connections`` holds the dense ones: block (from 1) -> the earlier stages
    (0 is the image) that enter its output through a SkipConn2d each, max-pooled
    to the size of its maps. ``hidden`` is the width of the first fully
    connected layer, behind a Flatten; None: global average pooling.
    """

    def __init__(
        self,
        block: Callable[[int, int], nn.Module],
        widths: Sequence[int],
        classes: int,
        input_size: tuple[int, int],
        *,
        pool_after: tuple[int, int],
        connections: Mapping[int, Sequence[int]] | None = None,
        hidden: int | None = _HIDDEN,
    ) -> None:
        super().__init__()
        height, width = _map_size(input_size)
        stages = (_IMAGE_CHANNELS, *widths)
        self.pool_after = pool_after
        self.connections = dict(connections or {})
        self.blocks = nn.ModuleList(block(*pair) for pair in pairwise(stages))
        self.skips = nn.ModuleDict()
        for target, sources in self.connections.items():
            for source in sources:
                halvings = sum(source < place < target for place in pool_after)
                self.skips[f"{source}_to_{target}"] = nn.Sequential(
                    nn.MaxPool2d(2**halvings) if halvings else nn.Identity(),
                    SkipConn2d(stages[source], stages[target]),
                )
        self.dense: nn.Module | None = None
        if hidden is not None:
            inputs = widths[-1] * height * width
            self.dense = nn.Sequential(nn.Linear(inputs, hidden), nn.BatchNorm1d(hidden), nn.ReLU())
        self.fc = nn.Linear(widths[-1] if hidden is None else hidden, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``(N, classes)`` of images ``(N, 3, H, W)``."""
        maps = self._maps(images)
        if self.dense is None:
            vectors = maps.mean(dim=(2, 3))
        else:
            vectors = self.dense(torch.flatten(maps, 1))
        logits: Tensor = self.fc(vectors)
        return logits

    def _maps(self, images: Tensor) -> Tensor:
        """The last block's maps; a stage is what the next block reads."""
        stages = [images]
        for number, block in enumerate(self.blocks, start=1):
            maps: Tensor = block(stages[-1])
            for source in self.connections.get(number, ()):
                maps = maps + self.skips[f"{source}_to_{number}"](stages[source])
            maps = functional.relu(maps)
            stages.append(functional.max_pool2d(maps, 2) if number in self.pool_after else maps)
        return stages[-1]


def base(classes: int = 10, input_size: tuple[int, int] = (32, 32)) -> nn.Module:
    """Two ResBlocks (3-10-20) and two fully connected layers; 136,380 parameters."""
    return Revisited(ResBlock, (10, 20), classes, input_size, pool_after=(1, 2))


def v1(classes: int = 10, input_size: tuple[int, int] = (32, 32)) -> nn.Module:
    """Delayed max pooling: four narrower ResBlocks, pooled after the last two; 136,430 parameters.

    A reconstruction: the widths 2-6-8-20 are the paper's count, not its text.
    """
    return Revisited(ResBlock, (2, 6, 8, 20), classes, input_size, pool_after=(3, 4))


def v2(classes: int = 10, input_size: tuple[int, int] = (32, 32)) -> nn.Module:
    """``base`` with one dense connection, image to output of block 2; 136,500 parameters."""
    return Revisited(
        ResBlock, (10, 20), classes, input_size, pool_after=(1, 2), connections={2: (0,)}
    )


def v3(classes: int = 10, input_size: tuple[int, int] = (32, 32)) -> nn.Module:
    """Fire blocks 5-8-12-14-20-20; 136,354 parameters.

    A reconstruction: the widths and the squeeze width (the input's) are the
    paper's count, not its text; where it pools is our choice (blocks 2 and 4).
    """
    widths = (5, 8, 12, 14, 20, 20)
    return Revisited(FireResBlock, widths, classes, input_size, pool_after=(2, 4))


def v4(classes: int = 10, input_size: tuple[int, int] = (32, 32)) -> nn.Module:
    """Bottleneck blocks 8-8-10-10-14-20; 136,536 parameters.

    A reconstruction: the widths and the middle width (the input's) are the
    paper's count, not its text; where it pools is our choice (blocks 2 and 4).
    """
    widths = (8, 8, 10, 10, 14, 20)
    return Revisited(BottleneckResBlock, widths, classes, input_size, pool_after=(2, 4))


def v5(classes: int = 10, input_size: tuple[int, int] = (32, 32)) -> nn.Module:
    """Depthwise separable blocks 16-17-18-18-18-20; 137,066 parameters.

    A reconstruction: the paper gives the count and a limit of 20 channels;
    other widths match too, and where it pools is our choice (blocks 2 and 4).
    """
    widths = (16, 17, 18, 18, 18, 20)
    return Revisited(DepthwiseResBlock, widths, classes, input_size, pool_after=(2, 4))


def v6(classes: int = 10, input_size: tuple[int, int] = (32, 32)) -> nn.Module:
    """Six ResBlocks behind global average pooling (table 3); 136,960 parameters."""
    widths = (10, 20, 30, 40, 50, 50)
    return Revisited(ResBlock, widths, classes, input_size, pool_after=(1, 2), hidden=None)


def alpha(classes: int = 10, input_size: tuple[int, int] = (32, 32)) -> nn.Module:
    """Global average pooling and dense connections (table 4); 131,970 parameters.

    Into the output of each block goes a SkipConn2d from every stage earlier
    than the block's own input, the image included.
    """
    widths = (10, 20, 30, 40, 40, 50)
    connections = {block: range(block - 1) for block in range(2, len(widths) + 1)}
    return Revisited(
        ResBlock,
        widths,
        classes,
        input_size,
        pool_after=(1, 2),
        connections=connections,
        hidden=None,
    )


def student(classes: int = 40, input_size: tuple[int, int] = (64, 64)) -> nn.Module:
    """``alpha`` for larger images and more classes; 133,500 parameters."""
    return alpha(classes, input_size)


def _map_size(input_size: tuple[int, int]) -> tuple[int, int]:
    """Height and width after two halvings; a ``ValueError`` where nothing is left."""
    height, width = input_size[0] // 4, input_size[1] // 4
    if min(height, width) < 1:
        raise ValueError(
            f"the revisited networks need an input of at least 4x4 pixels, "
            f"not {input_size[0]}x{input_size[1]}"
        )
    return height, width
