"""A factorised space-time U-Net: the denoiser of clips and, with its temporal parts left out, of stills.

    (x_t, level, conditions, image) -> prediction

After Video Diffusion Models (Ho et al. 2022), Make-A-Video (Singer et al. 2022) and EchoDiffusion (Reynaud et al.,
MICCAI 2023, arXiv 2303.12644), whose sizes are `ECHODIFFUSION`. Frames are never strided in time.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

from synthzoo.errors import UserError
from synthzoo.networks.space_time_blocks import (
    Context,
    Grow,
    ResidualBlock,
    Shrink,
    SpaceAttention,
    TimeAttention,
    TimeConvolution,
    TokenAttention,
    zeroed,
)
from synthzoo.networks.space_time_embeddings import Embedding

SKIP_SCALE = 2**-0.5


class SpaceTimeUNet(nn.Module):
    """Residual levels over space with convolutions and attention over time at each of them.

    Level i works at width w_i and hands on w_(i+1), where w_0 is the stem's width and w_1, w_2, ... are `channels`.

    Args:
        in_channels: C of the clip.
        channels: width that each level hands on; every level but the last halves the size.
        out_channels: of the prediction; None is in_channels.
        stem_channels: None is the first of channels.
        blocks: residual blocks a level, on the way down and on the way up.
        conditions: K scalar conditions, normalised to about [0, 1].
        image_channels: of a conditioning image that stands beside every frame; 0 for none.
        low_channels: of a low-resolution clip, brought to the size of x, that stands beside it; 0 for none.
        level_range: lowest and highest noise level of the network's input, see `LevelEmbedding`.
        low_level_range: the same for the noise on the low-resolution clip (log SNR).
        embedding: size of the vector that all blocks hear; None is 4 times the stem's width, twice that with a
            low-resolution clip.
        time_attention: attention over time, one for all levels or one for each, the stem counted with the first. At
            full size it takes a third of a small network's time; convolutions over time remain without it.
        space_attention: attention within frames, one for all levels or one for each.
        middle_attention: attention over space and time at once in the middle.
        tokens: levels whose first block attends to the tokens of level and conditions, one for all or one for each.
        middle_tokens: the same for the two blocks in the middle.
        resampled: see `Embedding`.
        heads, head_channels: of all attention.
        gates: whether blocks weigh their channels by a global context.
        causal: frames never see later ones.
        stem_kernels: of parallel convolutions whose outputs are stacked; each has half the channels of the one
            before, the last what is left.
        early_shrink: levels halve before their blocks instead of after them, the last one too: less memory.
        groups: of the normalisation.

    Raises:
        UserError: a setting a level of the wrong number.
    """

    def __init__(
        self,
        in_channels: int,
        channels: Sequence[int] = (32, 64, 96),
        out_channels: int | None = None,
        stem_channels: int | None = None,
        blocks: int = 1,
        conditions: int = 1,
        image_channels: int = 0,
        low_channels: int = 0,
        level_range: tuple[float, float] = (-1.6, 1.2),
        low_level_range: tuple[float, float] = (-10.0, 10.0),
        embedding: int | None = None,
        time_attention: bool | Sequence[bool] = True,
        space_attention: bool | Sequence[bool] = False,
        middle_attention: bool = True,
        tokens: bool | Sequence[bool] = False,
        middle_tokens: bool = False,
        resampled: int = 0,
        heads: int = 4,
        head_channels: int = 16,
        gates: bool = False,
        causal: bool = False,
        stem_kernels: Sequence[int] = (3,),
        early_shrink: bool = False,
        groups: int = 8,
    ) -> None:
        super().__init__()
        widths = [stem_channels or channels[0], *channels]
        levels = len(channels)
        timed = per_level("time_attention", time_attention, levels)
        spaced = per_level("space_attention", space_attention, levels)
        with_tokens = per_level("tokens", tokens, levels)
        width = widths[0] if any(with_tokens) or middle_tokens else 0
        embedding = embedding or 4 * widths[0] * (2 if low_channels else 1)
        self.in_channels, self.image_channels, self.low_channels = in_channels, image_channels, low_channels
        self.divisor = 2 ** (levels if early_shrink else levels - 1)
        self.embedding = Embedding(
            embedding, conditions, level_range, low_level_range if low_channels else None, width, resampled
        )

        def block(inner: int, outer: int, hears: bool = False, gate: bool = gates) -> nn.Module:
            attention = TokenAttention(outer, width, heads, head_channels) if hears else None
            return ResidualBlock(inner, outer, embedding, groups, attention, gate and not hears, causal)

        def over_time(channels: int, attends: bool) -> nn.ModuleList:
            parts: list[nn.Module] = [TimeConvolution(channels, causal, depthwise=True)]
            return nn.ModuleList(parts + [TimeAttention(channels, heads, head_channels, causal)] * attends)

        def mixing(channels: int, level: int) -> nn.ModuleList:
            parts: list[nn.Module] = [SpaceAttention(channels, heads, head_channels)] if spaced[level] else []
            return nn.ModuleList([*parts, *over_time(channels, timed[level])])

        given = in_channels + image_channels + low_channels
        self.stem = nn.ModuleList(
            nn.Conv2d(given, outer, kernel, padding=kernel // 2)
            for kernel, outer in zip(sorted(stem_kernels), stem_widths(widths[0], len(stem_kernels)))
        )
        self.stem_time = over_time(widths[0], timed[0])
        self.first = block(widths[0], widths[0]) if early_shrink else None
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        for level, (inner, outer) in enumerate(zip(widths[:-1], widths[1:])):
            last = level == levels - 1
            at = outer if early_shrink else inner
            if early_shrink:
                before, after = Shrink(inner, outer), nn.Identity()
            else:
                before, after = nn.Identity(), nn.Conv2d(inner, outer, 3, padding=1) if last else Shrink(inner, outer)
            self.down.append(
                nn.ModuleDict(
                    {
                        "before": before,
                        "blocks": nn.ModuleList(
                            block(at, at, with_tokens[level] and number == 0, gates and number > 0)
                            for number in range(blocks)
                        ),
                        "mixing": mixing(at, level),
                        "after": after,
                    }
                )
            )
            self.up.insert(
                0,
                nn.ModuleDict(
                    {
                        "blocks": nn.ModuleList(
                            block(outer + at, outer, with_tokens[level] and number == 0, gates and number > 0)
                            for number in range(blocks)
                        ),
                        "mixing": mixing(outer, level),
                        "after": Grow(outer, inner) if early_shrink or level else nn.Identity(),
                    }
                ),
            )
        deep = widths[-1]
        across = [SpaceAttention(deep, heads, head_channels, shared=True, across_time=True)] * middle_attention
        self.middle = nn.ModuleList(
            [
                block(deep, deep, middle_tokens, False),
                *across,
                *over_time(deep, timed[-1]),
                block(deep, deep, middle_tokens, False),
            ]
        )
        self.last = block(widths[0] if early_shrink else widths[1], widths[0])
        self.out = zeroed(nn.Conv2d(widths[0] + low_channels, out_channels or in_channels, 3, padding=1))

    def forward(
        self,
        x: torch.Tensor,
        level: torch.Tensor,
        conditions: torch.Tensor | None = None,
        image: torch.Tensor | None = None,
        low: torch.Tensor | None = None,
        low_level: torch.Tensor | None = None,
        still: bool = False,
    ) -> torch.Tensor:
        """Prediction of the shape of x, with the output's channels.

        Args:
            x: noisy clip (B, C, T, H, W), or stills (B, C, H, W).
            level: noise level (B,), within level_range.
            conditions: normalised (B, K), NaN where left out; None leaves all out.
            image: conditioning image (B, image_channels, H, W).
            low: low-resolution clip brought to the size of x, (B, low_channels, T, H, W).
            low_level: log SNR of the noise on it (B,).
            still: leave out whatever looks along time, so that each frame is an image of its own.

        Raises:
            UserError: an image or a low-resolution clip is missing, or there is no place for it.
        """
        if x.ndim == 4:
            low = None if low is None else low[:, :, None]
            return self(x[:, :, None], level, conditions, image, low, low_level, still=True)[:, :, 0]
        for name, value, wanted in (("image", image, self.image_channels), ("low", low, self.low_channels)):
            if (0 if value is None else value.shape[1]) != wanted:
                found = "none" if value is None else f"{value.shape[1]} channels"
                raise UserError(f"{name}: this network takes {wanted or 'no'} channels of it and was given {found}.")
        batch, _, frames, height, width = x.shape
        parts = [x] if image is None else [image[:, :, None].expand(-1, -1, frames, -1, -1), x]
        x = torch.cat([*parts, *([] if low is None else [low])], 1).transpose(1, 2).flatten(0, 1)
        # Sizes that the levels cannot halve get their edges repeated, as 14 x 14 latents do in EchoNet-Synthetic.
        x = F.pad(x, (0, -width % self.divisor, 0, -height % self.divisor), mode="replicate")
        vector, tokens = self.embedding(level, conditions, low_level)
        context = Context(frames, still, vector.repeat_interleave(frames, 0), tokens)
        seen_low = x[:, x.shape[1] - self.low_channels :]

        x = run(self.stem_time, torch.cat([convolution(x) for convolution in self.stem], 1), context)
        x = x if self.first is None else self.first(x, context)
        skips = []
        for part in self.down:
            x = part["before"](x)
            for number, layer in enumerate(part["blocks"], 1):
                x = layer(x, context)
                if number == len(part["blocks"]):
                    x = run(part["mixing"], x, context)
                skips.append(x * SKIP_SCALE)
            x = part["after"](x)
        x = run(self.middle, x, context)
        for part in self.up:
            for layer in part["blocks"]:
                x = layer(torch.cat([x, skips.pop()], 1), context)
            x = part["after"](run(part["mixing"], x, context))
        x = self.last(x, context)
        x = self.out(torch.cat([x, seen_low], 1))[..., :height, :width]
        return x.unflatten(0, (batch, frames)).transpose(1, 2)


def run(layers: Sequence[nn.Module], x: torch.Tensor, context: Context) -> torch.Tensor:
    """x (B T, C, H, W) through all layers."""
    for layer in layers:
        x = layer(x, context)
    return x


def per_level(name: str, value: bool | Sequence[bool], levels: int) -> list[bool]:
    """One setting for each level.

    Raises:
        UserError: a list of another length.
    """
    values = [value] * levels if isinstance(value, bool) else [bool(one) for one in value]
    if len(values) != levels:
        raise UserError(f"{name} = {value}: {len(values)} values for {levels} levels; give one a level or one alone.")
    return values


def stem_widths(channels: int, count: int) -> list[int]:
    """Channels of `count` parallel convolutions: a half, a quarter, ..., and what is left."""
    halves = [channels // 2 ** (n + 1) for n in range(count - 1)]
    return [*halves, channels - sum(halves)]


# The published networks, as settings: one condition, RGB, 112 x 112 or less.
_PUBLISHED = {
    "in_channels": 3,
    "channels": (64, 128, 256),
    "stem_channels": 64,
    "blocks": 3,
    "image_channels": 3,
    "tokens": (False, False, True),
    "middle_tokens": True,
    "resampled": 36,
    "heads": 8,
    "head_channels": 64,
    "gates": True,
    "causal": True,
    "stem_kernels": (3, 7, 15),
}
ECHODIFFUSION = {
    "base_alone": {**_PUBLISHED, "middle_attention": False},
    "base": _PUBLISHED,
    "time_upsampling": {**_PUBLISHED, "low_channels": 3, "early_shrink": True},
    "space_upsampling": {**_PUBLISHED, "low_channels": 3, "tokens": False, "middle_attention": False},
}
