"""A small 3D U-Net that gives the shares of tissues in each voxel, and the loss with which instruments train it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import nn
from torch.nn import functional as F


class ConvNormAct(nn.Sequential):
    """3x3x3 convolution, group normalisation, SiLU."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__(
            nn.Conv3d(inputs, outputs, 3, stride, 1, bias=False), nn.GroupNorm(8, outputs), nn.SiLU(inplace=True)
        )


def pack(image: torch.Tensor) -> torch.Tensor:
    """(B, C, D, H, W) to (B, 8 C, D/2, H/2, W/2): each 2x2x2 block becomes channels."""
    b, c, d, h, w = image.shape
    blocks = image.reshape(b, c, d // 2, 2, h // 2, 2, w // 2, 2)
    return blocks.permute(0, 1, 3, 5, 7, 2, 4, 6).reshape(b, c * 8, d // 2, h // 2, w // 2)


def unpack(packed: torch.Tensor) -> torch.Tensor:
    """The inverse of `pack`."""
    b, c, d, h, w = packed.shape
    blocks = packed.reshape(b, c // 8, 2, 2, 2, d, h, w)
    return blocks.permute(0, 1, 5, 2, 6, 3, 7, 4).reshape(b, c // 8, d * 2, h * 2, w * 2)


class BlockUNet(nn.Module):
    """U-Net on 2x2x2 blocks: (B, C, D, H, W) -> logits (B, K, D, H, W); D, H, W divisible by 8.

    Working on blocks keeps every voxel and costs an eighth of a U-Net that starts at full resolution.

    Args:
        classes: K.
        channels: C.
        width: of the first level; the others have twice and three times as many channels.
    """

    def __init__(self, classes: int, channels: int = 1, width: int = 16) -> None:
        super().__init__()
        w = width
        self.first = nn.Sequential(ConvNormAct(8 * channels, w), ConvNormAct(w, w))
        self.second = nn.Sequential(ConvNormAct(w, 2 * w, 2), ConvNormAct(2 * w, 2 * w))
        self.third = nn.Sequential(ConvNormAct(2 * w, 3 * w, 2), ConvNormAct(3 * w, 3 * w))
        self.to_second, self.to_first = nn.Conv3d(3 * w, 2 * w, 1), nn.Conv3d(2 * w, w, 1)
        self.up_second, self.up_first = ConvNormAct(2 * w, 2 * w), ConvNormAct(w, w)
        self.head = nn.Conv3d(w, 8 * classes, 1)

    def encode(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Features at a half, a quarter and an eighth of the resolution."""
        first = self.first(pack(image))
        second = self.second(first)
        return first, second, self.third(second)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        first, second, third = self.encode(image)
        up = F.interpolate(self.to_second(third), size=second.shape[2:], mode="trilinear")
        second = self.up_second(second + up)
        up = F.interpolate(self.to_first(second), size=first.shape[2:], mode="trilinear")
        return unpack(self.head(self.up_first(first + up)))


class ShareLoss:
    """Cross-entropy to soft fractions, plus the relative error of each tissue's volume.

        L = - mean_v w_v sum_k t_kv log p_kv + 0.1 mean_k |sum_v p_kv - sum_v t_kv| / (sum_v t_kv + least)
        w_v = sum_k t_kv w_k

    The minimum of the first is p = t, so fractions keep their millilitres; the second sharpens just that.

    Args:
        prepare: images of a batch -> what the network is given.
        least: voxels.
        weights: w_k of each class; a rare one is overlooked for long where all weigh alike, None. Where truth is open
            they favour the heavier class, which the scales of an instrument set right.
    """

    def __init__(
        self,
        prepare: Callable[[torch.Tensor], torch.Tensor],
        least: float = 200.0,
        weights: Sequence[float] | None = None,
    ) -> None:
        self.prepare, self.least = prepare, least
        self.weights = None if weights is None else torch.tensor(weights)

    def __call__(self, network: torch.nn.Module, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        logs = network(self.prepare(batch["image"])).float().log_softmax(1)  # sums over a volume, under autocast too
        shares = batch["shares"]
        divergence = (shares * (shares.clamp_min(1e-6).log() - logs)).sum(1)  # 0 when exact
        if self.weights is not None:
            divergence = divergence * torch.einsum("bkdhw,k->bdhw", shares, self.weights.to(shares))
        cross = divergence.mean()
        found, requested = logs.exp().sum((2, 3, 4))[:, 1:], shares.sum((2, 3, 4))[:, 1:]
        volume = ((found - requested).abs() / (requested + self.least)).mean()
        return {"loss": 10 * cross + 0.1 * volume, "divergence": cross, "volume": volume}
