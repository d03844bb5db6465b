"""Embeddings of noise levels and scalar conditions for a space-time network, as a vector and as tokens."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional as F

from synthzoo.errors import UserError

OCTAVES = 4


class LevelEmbedding(nn.Module):
    """A noise level as a vector.

    Args:
        embedding: size E of the vector.
        low, high: levels that become 0 and 1000 before waves of many lengths read them, such as 0 and 1000 for
            timesteps or -1.6 and 1.2 for a quarter of the log of sigma.
        waves: sines and cosines together.

    Raises:
        UserError: low is not below high.
    """

    def __init__(self, embedding: int, low: float, high: float, waves: int = 32) -> None:
        super().__init__()
        if not low < high:
            raise UserError(f"level_range = [{low}, {high}]: the first number must be below the second.")
        self.low, self.high = float(low), float(high)
        frequencies = torch.exp(-math.log(10000) * torch.arange(waves // 2) / (waves // 2))
        self.register_buffer("frequencies", frequencies, persistent=False)
        self.layers = nn.Sequential(nn.Linear(waves, embedding), nn.SiLU(), nn.Linear(embedding, embedding))

    def forward(self, level: torch.Tensor) -> torch.Tensor:
        """Levels (B,) -> (B, E)."""
        place = 1000 * (level.to(self.frequencies) - self.low) / (self.high - self.low)
        phase = place[:, None] * self.frequencies
        return self.layers(torch.cat([phase.sin(), phase.cos()], 1))


class ConditionTokens(nn.Module):
    """K scalar conditions as K tokens, with a learned token in place of each that is left out.

    Args:
        conditions: K.
        width: size W of a token.
    """

    def __init__(self, conditions: int, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.randn(conditions, 2 * OCTAVES + 1, width) / math.sqrt(2 * OCTAVES + 1))
        self.shift = nn.Parameter(torch.zeros(conditions, width))
        self.null = nn.Parameter(torch.randn(conditions, width))

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Normalised conditions (B, K), about [0, 1], NaN where left out -> (B, K, W)."""
        values = values.to(self.scale)
        out = torch.isnan(values)
        # Not only masked afterwards: the gradient through a NaN would be NaN.
        known = torch.nan_to_num(values)[..., None]
        phase = known * math.pi * 2.0 ** torch.arange(OCTAVES, device=known.device)
        features = torch.cat([known, phase.sin(), phase.cos()], -1)
        tokens = torch.einsum("bkf,kfw->bkw", features, self.scale) + self.shift
        return torch.where(out[..., None], self.null.expand_as(tokens), tokens)


class Resampler(nn.Module):
    """A fixed number of learned tokens that read the given ones (perceiver resampler, Alayrac et al. 2022).

    Args:
        width: size W of a token.
        count: tokens that come out.
        layers: rounds of attention and feed-forward.
        heads, head_channels: of the attention.
    """

    def __init__(self, width: int, count: int = 32, layers: int = 2, heads: int = 8, head_channels: int = 64) -> None:
        super().__init__()
        self.heads, inner = heads, heads * head_channels
        self.learned = nn.Parameter(torch.randn(count, width))
        self.layers = nn.ModuleList(
            nn.ModuleDict(
                {
                    "norm": nn.LayerNorm(width),
                    "norm_given": nn.LayerNorm(width),
                    "queries": nn.Linear(width, inner, bias=False),
                    "keys_values": nn.Linear(width, 2 * inner, bias=False),
                    "out": nn.Linear(inner, width, bias=False),
                    "feed_forward": nn.Sequential(
                        nn.LayerNorm(width),
                        nn.Linear(width, 4 * width, bias=False),
                        nn.GELU(),
                        nn.Linear(4 * width, width, bias=False),
                    ),
                }
            )
            for _ in range(layers)
        )

    def forward(self, given: torch.Tensor) -> torch.Tensor:
        """(B, N, W) -> (B, count, W)."""
        x = self.learned.expand(given.shape[0], -1, -1)
        for layer in self.layers:
            own = layer["norm"](x)
            q = layer["queries"](own)
            k, v = layer["keys_values"](torch.cat([layer["norm_given"](given), own], 1)).chunk(2, -1)
            q, k, v = (part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in (q, k, v))
            x = x + layer["out"](F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
            x = x + layer["feed_forward"](x)
        return x


class Embedding(nn.Module):
    """Levels and conditions together: one vector for every block, and tokens for those blocks that attend to them.

    Args:
        embedding: size E of the vector.
        conditions: K; 0 makes the network unconditional.
        level_range: lowest and highest noise level.
        low_level_range: the same of the low-resolution input; None if there is none.
        width: size W of a token; 0 makes no tokens.
        resampled: tokens that stand for the conditions after a `Resampler`; 0 keeps one a condition.
    """

    def __init__(
        self,
        embedding: int,
        conditions: int,
        level_range: tuple[float, float],
        low_level_range: tuple[float, float] | None = None,
        width: int = 0,
        resampled: int = 0,
    ) -> None:
        super().__init__()
        self.conditions, self.width = conditions, width
        self.level = LevelEmbedding(embedding, *level_range)
        self.low_level = LevelEmbedding(embedding, *low_level_range) if low_level_range else None
        inner = width or embedding // 2
        self.values = ConditionTokens(conditions, inner) if conditions else None
        self.resampler = Resampler(inner, resampled) if conditions and resampled else nn.Identity()
        self.vector = nn.Sequential(
            nn.LayerNorm(inner), nn.Linear(inner, embedding), nn.SiLU(), nn.Linear(embedding, embedding)
        ) if conditions else None  # fmt: skip
        self.level_tokens = nn.Linear(embedding, 2 * width) if width else None
        self.low_level_tokens = nn.Linear(embedding, 2 * width) if width and low_level_range else None
        self.norm = nn.LayerNorm(width) if width else None

    def forward(
        self, level: torch.Tensor, conditions: torch.Tensor | None = None, low_level: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Levels (B,), conditions (B, K) with NaN where left out (None: all) -> vector (B, E), tokens (B, N, W)."""
        vector = self.level(level)
        tokens = [self.level_tokens(vector).unflatten(1, (2, -1))] if self.width else []
        if self.low_level is not None:
            low = self.low_level(low_level)
            vector = vector + low
            if self.width:
                tokens.append(self.low_level_tokens(low).unflatten(1, (2, -1)))
        if self.values is not None:
            if conditions is None:
                conditions = torch.full((vector.shape[0], self.conditions), float("nan"), device=vector.device)
            found = self.resampler(self.values(conditions))
            vector = vector + self.vector(found.mean(1))
            tokens.append(found)
        return vector, self.norm(torch.cat(tokens, 1)) if self.width else None
