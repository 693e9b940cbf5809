"""Networks of the catalogue written plainly in PyTorch: the same layers, strides, paddings and parameters.

Images are (batch, channels, height, width). Paddings are those of the Keras networks: SAME pads more behind than
before. ResNet50 has biases before its batch norms and strides in the first convolution of a block, as Keras's.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional


class Cbr(nn.Sequential):  # type: ignore[misc]
    """The CBR network of four units: convolution, batch norm, ReLU, max-pooling."""

    def __init__(self, channels: int, classes: int, widths: tuple[int, ...], kernel: int) -> None:
        layers: list[nn.Module] = []
        for width in widths:
            layers += [
                nn.Conv2d(channels, width, kernel, padding=kernel // 2, bias=False),
                nn.BatchNorm2d(width, eps=1e-3, momentum=0.01),
                nn.ReLU(inplace=True),
                # An even side of SAME 3×3 pooling by 2 is padded behind alone.
                nn.MaxPool2d(3, 2, ceil_mode=True),
            ]
            channels = width
        super().__init__(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes))


class MobileNet(nn.Module):  # type: ignore[misc]
    """MobileNet (version 1): depthwise and pointwise convolutions in turn."""

    #: Width and stride of the blocks.
    BLOCKS = (
        (64, 1),
        (128, 2),
        (128, 1),
        (256, 2),
        (256, 1),
        (512, 2),
        *[(512, 1)] * 5,
        (1024, 2),
        (1024, 1),
    )

    def __init__(self, channels: int, classes: int, alpha: float) -> None:
        super().__init__()
        width = int(32 * alpha)
        self.stem = self._convolve(channels, width, 3, 2)
        blocks = []
        for filters, stride in self.BLOCKS:
            wider = int(filters * alpha)
            blocks.append(
                nn.Sequential(
                    self._convolve(width, width, 3, stride, width), self._convolve(width, wider, 1, 1)
                )
            )
            width = wider
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(width, classes)

    @staticmethod
    def _convolve(before: int, after: int, kernel: int, stride: int, groups: int = 1) -> nn.Sequential:
        """Make a convolution with batch norm and ReLU6."""
        padding = [nn.ZeroPad2d((0, 1, 0, 1))] if stride == 2 else []
        same = kernel // 2 if stride == 1 else 0
        return nn.Sequential(
            *padding,
            nn.Conv2d(before, after, kernel, stride, same, groups=groups, bias=False),
            nn.BatchNorm2d(after, eps=1e-3, momentum=0.01),
            nn.ReLU6(inplace=True),
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Give logits (batch, classes)."""
        return self.head(self.blocks(self.stem(images)).mean((2, 3)))


class Bottleneck(nn.Module):  # type: ignore[misc]
    """A residual block of three convolutions."""

    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        after = 4 * width
        self.shortcut = nn.Identity()
        if before != after:
            self.shortcut = nn.Sequential(nn.Conv2d(before, after, 1, stride), make_norm(after))
        self.branch = nn.Sequential(
            nn.Conv2d(before, width, 1, stride),
            make_norm(width),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, padding=1),
            make_norm(width),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, after, 1),
            make_norm(after),
        )

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Add the branch to what came in."""
        return functional.relu(self.shortcut(features) + self.branch(features), inplace=True)


def make_norm(channels: int) -> nn.BatchNorm2d:
    """Make ResNet50's batch norm."""
    return nn.BatchNorm2d(channels, eps=1.001e-5, momentum=0.01)


class ResNet50(nn.Module):  # type: ignore[misc]
    """ResNet50 (version 1)."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(channels, 64, 7, 2, 3), make_norm(64), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)
        )
        blocks, before = [], 64
        for width, count, stride in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
            for block in range(count):
                blocks.append(Bottleneck(before, width, stride if block == 0 else 1))
                before = 4 * width
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(before, classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Give logits (batch, classes)."""
        return self.head(self.blocks(self.stem(images)).mean((2, 3)))


class EncoderBlock(nn.Module):  # type: ignore[misc]
    """A block of a vision transformer: attention and an MLP, each after a layer norm."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = (nn.LayerNorm(width, eps=1e-6) for _ in range(2))
        self.triple = nn.Linear(width, 3 * width)
        self.projection = nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Mix tokens (batch, tokens, width)."""
        batch, count, width = tokens.shape
        triple = self.triple(self.norm1(tokens)).view(batch, count, 3, self.heads, width // self.heads)
        query, key, value = triple.permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(query, key, value)
        tokens = tokens + self.projection(mixed.transpose(1, 2).reshape(batch, count, width))
        return tokens + self.mlp(self.norm2(tokens))


class VisionTransformer(nn.Module):  # type: ignore[misc]
    """A vision transformer whose class token is read."""

    def __init__(
        self, channels: int, classes: int, size: int, patch: int, width: int, depth: int, heads: int
    ) -> None:
        super().__init__()
        self.embed = nn.Conv2d(channels, width, patch, patch)
        self.token = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = nn.Parameter(torch.randn(1, 1 + (size // patch) ** 2, width) * 0.02)
        self.blocks = nn.Sequential(*(EncoderBlock(width, heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.head = nn.Linear(width, classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Give logits (batch, classes)."""
        patches = self.embed(images).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(len(images), -1, -1), patches], 1) + self.positions
        return self.head(self.norm(self.blocks(tokens))[:, 0])


def make_network(name: str, channels: int, classes: int, size: int) -> nn.Module:
    """Make the network that a row of the catalogue is, for images of size×size pixels."""
    if name == "cbr_tiny":
        return Cbr(channels, classes, (32, 64, 128, 256), 5)
    if name == "mobilenet_075":
        return MobileNet(channels, classes, 0.75)
    if name == "resnet50":
        return ResNet50(channels, classes)
    if name == "vit_ti16":
        return VisionTransformer(channels, classes, size, patch=16, width=192, depth=12, heads=3)
    raise SystemExit(f"no PyTorch twin of {name}")
