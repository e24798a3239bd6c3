"""Small networks that know nothing of ours, as users bring them."""

import torch
import torch.nn.functional as F
from torch import nn


class Block(nn.Module):
    """A residual block whose first convolution may halve the image, behind a widening one that does not."""

    def __init__(self, channels_in, channels_out, stride):
        super().__init__()
        self.widen = nn.Conv2d(channels_in, 2 * channels_out, 1)
        self.conv = nn.Conv2d(2 * channels_out, channels_out, 3, stride, padding=1)
        self.norm = nn.BatchNorm2d(channels_out)

    def forward(self, x):
        return F.relu(self.norm(self.conv(self.widen(x).relu())))


class ConvNet(nn.Module):
    """Stem at full size, stages at 1/2 and 1/4 whose blocks lie in one container, dropout, a linear head."""

    def __init__(self, in_channels=3, num_classes=5):
        super().__init__()
        self.stem = nn.Conv2d(in_channels, 4, 3, padding=1)
        self.body = nn.Sequential(Block(4, 6, 2), Block(6, 6, 1), Block(6, 8, 2), Block(8, 8, 1))
        self.drop = nn.Dropout(0.5)
        self.unused = nn.Linear(3, 3)
        self.head = nn.Linear(8, num_classes)

    def forward(self, x):
        return self.head(self.drop(self.body(self.stem(x)).mean((2, 3))))


class TokenBlock(nn.Module):
    """Mixes nothing and returns what transformers' blocks often return: a tuple."""

    def __init__(self, width):
        super().__init__()
        self.dense = nn.Linear(width, width)

    def forward(self, x):
        return x + self.dense(x).tanh(), None


class TokenNet(nn.Module):
    """Patches as tokens behind some extra ones, a row of like blocks, logits from the first token or the mean."""

    def __init__(self, patch=4, extra=1, depth=8, width=6, num_classes=5):
        super().__init__()
        self.patches = nn.Conv2d(3, width, patch, patch)
        self.extra = nn.Parameter(torch.randn(1, extra, width))
        self.blocks = nn.ModuleList(TokenBlock(width) for _ in range(depth))
        self.head = nn.Linear(width, num_classes)

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.extra.expand(x.shape[0], -1, -1), x], 1)
        for block in self.blocks:
            x, _ = block(x)
        return self.head(x.mean(1))


class LastNet(nn.Module):
    """Maps with channels last, as Swin transformers keep them."""

    def __init__(self, num_classes=5):
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 2, 2)
        self.turn = Permute()
        self.stage = nn.Sequential(nn.Linear(6, 6), nn.GELU())
        self.head = nn.Linear(6, num_classes)

    def forward(self, x):
        return self.head(self.stage(self.turn(self.stem(x))).mean((1, 2)))


class Permute(nn.Module):
    """(B, C, H, W) to (B, H, W, C)."""

    def forward(self, x):
        return x.permute(0, 2, 3, 1)


class PixelNet(nn.Module):
    """Classifies every pixel: an encoder, a 1x1 convolution, and an enlargement to the size of the image."""

    def __init__(self, in_channels=3, num_classes=5):
        super().__init__()
        self.encoder = nn.Sequential(Block(in_channels, 6, 2), Block(6, 8, 2))
        self.classifier = nn.Conv2d(8, num_classes, 1)

    def forward(self, x):
        return F.interpolate(self.classifier(self.encoder(x)), x.shape[2:], mode="bilinear")
