"""Blocks of a factorised space-time network: each works along space or along time, never along both at once.

Inside, frames lie in the batch: a clip (B, C, T, H, W) is (B T, C, H, W), so that whatever looks along space is the
plain layer of images. Whatever looks along time starts as the identity and is left out for stills, so that an image
model is part of every video model (Ho et al. 2022; Singer et al., Make-A-Video, 2022).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F


class Context(NamedTuple):
    """What the blocks of one forward pass share: frames T a clip, embedding (B T, E), tokens (B, N, W) or None."""

    frames: int
    still: bool
    embedding: torch.Tensor
    tokens: torch.Tensor | None


def zeroed(layer: nn.Module) -> nn.Module:
    """The layer with parameters of zero, so that the branch that it ends begins as nothing."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


def along_time(x: torch.Tensor, frames: int) -> torch.Tensor:
    """(B T, C, H, W) -> (B, C, T, H W)."""
    return x.reshape(-1, frames, x.shape[1], x.shape[2] * x.shape[3]).transpose(1, 2)


def frames_in_batch(x: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    """(B, C, T, H W) -> (B T, C, H, W), the inverse of `along_time`."""
    return x.transpose(1, 2).reshape(shape)


class TimeConvolution(nn.Module):
    """Convolution over three frames of each pixel, the identity at the start.

    Args:
        causal: a frame sees itself and the two before it, instead of its two neighbours.
        depthwise: one kernel a channel, added to the input, instead of a full matrix.
    """

    def __init__(self, channels: int, causal: bool = False, depthwise: bool = False) -> None:
        super().__init__()
        self.convolution = zeroed(
            nn.Conv2d(channels, channels, (3, 1), padding=(0 if causal else 1, 0), groups=channels if depthwise else 1)
        )
        self.causal, self.residual = causal, depthwise
        if not depthwise:
            with torch.no_grad():
                self.convolution.weight[:, :, 2 if causal else 1, 0] = torch.eye(channels)

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """(B T, C, H, W) -> the same shape."""
        if context.still:
            return x
        clip = along_time(x, context.frames)
        clip = F.pad(clip, (0, 0, 2, 0)) if self.causal else clip
        out = frames_in_batch(self.convolution(clip), x.shape)
        return x + out if self.residual else out


class TimeBias(nn.Module):
    """Relative bias of attention by the distance between two frames, for any number of frames: T -> (heads, T, T)."""

    def __init__(self, width: int, heads: int, causal: bool) -> None:
        super().__init__()
        self.causal = causal
        self.layers = nn.Sequential(
            nn.Linear(1, width), nn.LayerNorm(width, bias=False), nn.SiLU(),
            nn.Linear(width, width), nn.LayerNorm(width, bias=False), nn.SiLU(),
            zeroed(nn.Linear(width, heads, bias=False)),
        )  # fmt: skip

    def forward(self, frames: int, like: torch.Tensor) -> torch.Tensor:
        """Bias (heads, T, T); minus infinity where a later frame may not be seen."""
        f = torch.arange(frames, device=like.device)
        distance = f[:, None] - f[None]
        offsets = torch.arange(1 - frames, frames, device=like.device, dtype=like.dtype)
        offsets = offsets.sign() * offsets.abs().log1p()
        bias = self.layers(offsets[:, None])[distance + frames - 1].permute(2, 0, 1)
        return bias.masked_fill(distance < 0, float("-inf")) if self.causal else bias


class TimeAttention(nn.Module):
    """Each pixel's frames attend to each other; the heads share keys and values.

    Args:
        heads, head_channels: queries a frame, and their size.
        causal: frames see no later ones.
    """

    def __init__(self, channels: int, heads: int, head_channels: int, causal: bool = False) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(channels, bias=False)
        self.queries = nn.Linear(channels, heads * head_channels, bias=False)
        self.keys_values = nn.Linear(channels, 2 * head_channels, bias=False)
        self.out = zeroed(nn.Linear(heads * head_channels, channels, bias=False))
        self.bias = TimeBias(channels, heads, causal)

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """(B T, C, H, W) -> the same shape."""
        if context.still:
            return x
        clip = along_time(x, context.frames)
        rows = self.norm(clip.permute(0, 3, 2, 1).flatten(0, 1))
        k, v = self.keys_values(rows).chunk(2, -1)
        # With keys and values in common, the heads are further rows of one small matrix product a pixel.
        q = self.queries(rows).reshape(rows.shape[0], -1, k.shape[-1]) / k.shape[-1] ** 0.5
        scores = (q @ k.transpose(1, 2)).unflatten(1, (context.frames, self.heads))
        scores = scores + self.bias(context.frames, q).permute(1, 0, 2).to(q.dtype)
        seen = scores.softmax(-1).flatten(1, 2).to(v.dtype) @ v
        out = self.out(seen.reshape(rows.shape[0], context.frames, -1)).unflatten(0, (clip.shape[0], -1))
        return x + frames_in_batch(out.permute(0, 3, 2, 1), x.shape)


class SpaceAttention(nn.Module):
    """The pixels of a frame attend to each other.

    Args:
        heads, head_channels: number and size of the heads.
        shared: the heads share keys and values.
        across_time: to the pixels of all frames of the clip; of a still, to its own.
    """

    def __init__(
        self, channels: int, heads: int, head_channels: int, shared: bool = False, across_time: bool = False
    ) -> None:
        super().__init__()
        self.heads, self.head_channels, self.across_time = heads, head_channels, across_time
        self.norm = nn.LayerNorm(channels, bias=False)
        self.queries = nn.Linear(channels, heads * head_channels, bias=False)
        self.keys_values = nn.Linear(channels, 2 * head_channels * (1 if shared else heads), bias=False)
        self.out = zeroed(nn.Linear(heads * head_channels, channels, bias=False))

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """(B T, C, H, W) -> the same shape."""
        group = context.frames if self.across_time and not context.still else 1
        rows = self.norm(x.flatten(2).transpose(1, 2).reshape(x.shape[0] // group, -1, x.shape[1]))
        q, k, v = (
            part.unflatten(2, (-1, self.head_channels)).transpose(1, 2)
            for part in (self.queries(rows), *self.keys_values(rows).chunk(2, -1))
        )
        seen = F.scaled_dot_product_attention(q, k.expand_as(q), v.expand_as(q))
        out = self.out(seen.transpose(1, 2).flatten(2))
        return x + out.reshape(x.shape[0], -1, x.shape[1]).transpose(1, 2).reshape(x.shape)


class TokenAttention(nn.Module):
    """Every pixel attends to the clip's tokens."""

    def __init__(self, channels: int, width: int, heads: int, head_channels: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(channels, bias=False)
        self.queries = nn.Linear(channels, heads * head_channels, bias=False)
        self.keys_values = nn.Linear(width, 2 * heads * head_channels, bias=False)
        self.out = zeroed(nn.Linear(heads * head_channels, channels, bias=False))

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """(B T, C, H, W) -> the same shape."""
        tokens = context.tokens
        rows = self.norm(x.flatten(2).transpose(1, 2).reshape(tokens.shape[0], -1, x.shape[1]))
        q, k, v = (
            part.unflatten(2, (self.heads, -1)).transpose(1, 2)
            for part in (self.queries(rows), *self.keys_values(tokens).chunk(2, -1))
        )
        out = self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return x + out.reshape(x.shape[0], -1, x.shape[1]).transpose(1, 2).reshape(x.shape)


class Gate(nn.Module):
    """Channels weighed by an attention-pooled average of the frame (global context, Cao et al. 2019)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = max(3, channels // 2)
        self.score = nn.Conv2d(channels, 1, 1, bias=False)
        self.layers = nn.Sequential(nn.Linear(channels, hidden), nn.SiLU(), nn.Linear(hidden, channels), nn.Sigmoid())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) -> the same shape."""
        weights = self.score(x).flatten(2).softmax(-1)
        average = (x.flatten(2) * weights).sum(-1)
        return x * self.layers(average)[..., None, None]


class SpaceTimeConvolution(nn.Module):
    """3 x 3 over space, then 3 over time."""

    def __init__(self, in_channels: int, out_channels: int, causal: bool = False) -> None:
        super().__init__()
        self.space = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.time = TimeConvolution(out_channels, causal)

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """(B T, C, H, W) -> (B T, C', H, W)."""
        return self.time(self.space(x), context)


class ResidualBlock(nn.Module):
    """Two space-time convolutions with the embedding between them; each frame is normalised on its own.

    Args:
        embedding: size E of the embedding, which scales and shifts the second normalisation.
        groups: of the normalisation; where they do not divide the channels, the largest number below that does.
        tokens: attention to the tokens between the convolutions, or None.
        gate: weigh the channels at the end.
        causal: of the convolutions over time.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        embedding: int,
        groups: int = 8,
        tokens: nn.Module | None = None,
        gate: bool = False,
        causal: bool = False,
    ) -> None:
        super().__init__()
        self.norm1, self.norm2 = group_norm(groups, in_channels), group_norm(groups, out_channels)
        self.convolution1 = SpaceTimeConvolution(in_channels, out_channels, causal)
        self.convolution2 = SpaceTimeConvolution(out_channels, out_channels, causal)
        self.film = nn.Linear(embedding, 2 * out_channels)
        self.tokens = tokens
        self.gate = Gate(out_channels) if gate else nn.Identity()
        self.shortcut = nn.Conv2d(in_channels, out_channels, 1) if in_channels != out_channels else nn.Identity()

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """(B T, C, H, W) -> (B T, C', H, W)."""
        h = self.convolution1(F.silu(self.norm1(x)), context)
        if self.tokens is not None:
            h = self.tokens(h, context)
        scale, shift = self.film(F.silu(context.embedding))[..., None, None].chunk(2, 1)
        h = self.convolution2(F.silu(self.norm2(h) * (1 + scale) + shift), context)
        return self.gate(h) + self.shortcut(x)


def group_norm(groups: int, channels: int) -> nn.GroupNorm:
    """Normalisation in at most `groups` groups that divide the channels and have at least four each.

    A channel alone in its group would lose its mean, and with it the brightness of the frame.
    """
    most = max(1, min(groups, channels // 4))
    return nn.GroupNorm(next(n for n in range(most, 0, -1) if channels % n == 0), channels)


class Shrink(nn.Sequential):
    """Half the size: each 2 x 2 pixels become channels, mixed by a 1 x 1 convolution."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(nn.PixelUnshuffle(2), nn.Conv2d(4 * in_channels, out_channels, 1))


class Grow(nn.Sequential):
    """Twice the size: a 1 x 1 convolution whose channels become 2 x 2 pixels, alike at the start."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        convolution = nn.Conv2d(in_channels, 4 * out_channels, 1)
        super().__init__(convolution, nn.SiLU(), nn.PixelShuffle(2))
        with torch.no_grad():
            convolution.weight.copy_(convolution.weight[::4].repeat_interleave(4, 0))
            nn.init.zeros_(convolution.bias)
