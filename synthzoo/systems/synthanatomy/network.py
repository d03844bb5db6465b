"""SynthAnatomy: volumes as sequences of codes under conditions (Tudosiu, Pinaya et al., SASHIMI at MICCAI 2022).

    image -> codes (VQ-VAE) -> p(code_i | codes before it, conditions)         conditions by cross-attention

One module holds all that a bundle needs, the normaliser of the conditions included, so that one state dict is the whole
model. Conditions as context after BrainSynth (Tudosiu et al., Nature Machine Intelligence 2024): one context token for
each. There a token is the condition's value repeated over the width; attention reads a set, so such tokens say which
values were requested and not of which condition. Here each condition has directions of its own.

The authors add to a position's embedding those of its voxel's three coordinates. Here the embedding of a position
begins as waves of these coordinates, which the attention can turn into "the voxel above", and is then free.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from synthzoo.inferers.tokens import choose, uniform_of
from synthzoo.networks.codebook import CodebookAutoencoder
from synthzoo.networks.conditions import ConditionNormaliser
from synthzoo.networks.token_images import TokenImages
from synthzoo.networks.token_transformer import TokenTransformer


class ConditionTokens(nn.Module):
    """Context tokens of K conditions: token_k = sum_j cos(pi j c_k) e_kj, and one of its own where k is unset.

    Args:
        count: of conditions.
        width: of the transformer.
        waves: cosines of the normalised value c in [0, 1], j = 0 ... waves - 1.
    """

    def __init__(self, count: int, width: int, waves: int = 6) -> None:
        super().__init__()
        self.directions = nn.Parameter(torch.randn(count, waves, width) / waves**0.5)
        self.unset = nn.Parameter(torch.randn(count, width))

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Normalised conditions (B, K), outside [0, 1] where unset -> tokens (B, K, width)."""
        waves = torch.arange(self.directions.shape[1], device=values.device)
        cosines = torch.cos(torch.pi * waves * values.clamp(0, 1)[..., None])
        tokens = torch.einsum("bkj,kjw->bkw", cosines, self.directions)
        return torch.where((values < 0)[..., None], self.unset, tokens)


def coordinate_waves(order: torch.Tensor, shape: Sequence[int], width: int) -> torch.Tensor:
    """Embeddings (T, width) of the places of a grid in the order in which it is read, of unit variance.

    Cosine and sine of 2 pi j x / (L + 1), j = 1 ... (L + 1) / 2, for each coordinate x of an axis of length L, in
    random directions; nearby places have similar embeddings, and a shift along an axis turns them all alike.

    Args:
        order: (T,), flat index of each place of the sequence.
        shape: of the grid.
        width: of the embeddings.
    """
    waves = []
    for place, length in zip(torch.unravel_index(order, tuple(shape)), shape, strict=True):
        rates = 2 * math.pi / (length + 1) * torch.arange(1, (length + 1) // 2 + 1, device=order.device)
        angles = place[:, None] * rates
        waves += [angles.cos(), angles.sin()]
    found = torch.cat(waves, 1)
    return found @ torch.randn(found.shape[1], width, device=order.device) * (2 / found.shape[1]) ** 0.5


class AutoregressiveSynthesis(TokenImages):
    """VQ-VAE, transformer, conditions and their normaliser.

    Args:
        autoencoder, transformer, token_shape, margin, ordering: see `TokenImages`.
        conditions: normaliser of the K conditions; its `fill` lies below 0.
        affine: 4 x 4, voxel to world in mm (RAS) of the decoded volumes.
        waves: see `ConditionTokens`.
        passes: of `forward`.
    """

    def __init__(
        self,
        autoencoder: CodebookAutoencoder,
        transformer: TokenTransformer,
        conditions: ConditionNormaliser,
        token_shape: Sequence[int],
        affine: Sequence[Sequence[float]],
        margin: Sequence[int] | None = None,
        ordering: Mapping[str, Any] | None = None,
        waves: int = 6,
        passes: int = 2,
    ) -> None:
        super().__init__(autoencoder, transformer, token_shape, margin, ordering)
        self.conditions, self.passes = conditions, int(passes)
        self.condition_tokens = ConditionTokens(len(conditions), transformer.attn_layers_dim, waves)
        self.register_buffer("affine", torch.tensor(affine, dtype=torch.float64))
        with torch.no_grad():
            positions = transformer.position_embeddings.embedding.weight[: len(self.order)]
            positions.copy_(coordinate_waves(self.order, self.token_shape, transformer.attn_layers_dim))

    def context(self, conditions: torch.Tensor | None, batch: int) -> torch.Tensor:
        """Conditions (B, K) in user units, NaN where unset, None for none at all -> context tokens (B, K, width)."""
        if conditions is None:
            return self.condition_tokens(self.conditions.null(batch))
        return self.condition_tokens(self.conditions(conditions.to(self.conditions.low)))

    def preview(self, noise: torch.Tensor, passes: int) -> torch.Tensor:
        """Sequence (B, T) after some passes over all positions at once, nothing requested.

        Each pass chooses every token from those that the pass before chose before it (Jacobi iteration). Its first
        `passes` tokens are those of the sampler at the same noise, and after T passes all are.
        """
        uniform = uniform_of(self.sequence(noise[:, 0]))
        context = self.context(None, len(noise))
        tokens = torch.zeros(uniform.shape, dtype=torch.long, device=noise.device)
        for _ in range(passes):
            tokens = choose(self.transformer.next_logits(tokens, context), uniform)
        return tokens

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Noise (B, 1, *grid) -> volume (B, 1, D, H, W) in [0, 1] of a few passes, for export tools."""
        return self.decode(self.grid(self.preview(image, self.passes))).clamp(0, 1)
