"""An autoregressive transformer over tokens that remembers what it has read: MONAI's weights, one new token a call.

    p(t_1 ... t_T | c) = prod_i p(t_i | BOS, t_1 ... t_{i-1}, c)

`TokenTransformer` is MONAI's `DecoderOnlyTransformer` under its names, without the causal masks (T x T in every layer)
that MONAI keeps among the weights, and with a cache of keys and values: a sequence of T tokens then costs T calls on
one token each in place of T calls on growing sequences; tokens that are known go in together. The begin token (BOS, the
last of the vocabulary) is never a prediction: probabilities are those over the other tokens alone.
"""

from __future__ import annotations

from typing import Any

import torch
from monai.networks.nets import DecoderOnlyTransformer
from torch import nn
from torch.nn import functional as F

MASK = "causal_mask"


def in_heads(x: torch.Tensor, heads: int) -> torch.Tensor:
    """(B, L, width) -> (B, heads, L, width / heads)."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


class KeyValueCache:
    """Keys and values of every layer for the tokens read so far, and those of the context.

    Args:
        transformer: whose layers they are.
        batch: sequences.
        context: (B, K, width) for cross-attention, or None.
        length: tokens at most; None takes the transformer's.
    """

    def __init__(
        self, transformer: TokenTransformer, batch: int, context: torch.Tensor | None = None, length: int | None = None
    ) -> None:
        like = transformer.token_embeddings.weight
        heads, width = transformer.attn_layers_heads, transformer.attn_layers_dim
        shape = (batch, heads, length or transformer.max_seq_len, width // heads)
        self.length = 0
        self.keys = [like.new_empty(shape) for _ in transformer.blocks]
        self.values = [like.new_empty(shape) for _ in transformer.blocks]
        self.context: list[tuple[torch.Tensor, torch.Tensor]] = []
        for block in transformer.blocks if transformer.with_cross_attention else ():
            cross = block.cross_attn
            self.context.append((in_heads(cross.to_k(context), heads), in_heads(cross.to_v(context), heads)))


class TokenTransformer(DecoderOnlyTransformer):
    """MONAI's decoder-only transformer with a cache; the last of `num_tokens` tokens is BOS.

    Args:
        num_tokens: codes and BOS.
        max_seq_len: tokens of a sequence.
        settings: of `monai.networks.nets.DecoderOnlyTransformer`; attention never builds its T x T matrix.
    """

    def __init__(self, num_tokens: int, max_seq_len: int, **settings: Any) -> None:
        super().__init__(num_tokens, max_seq_len, **{"use_flash_attention": True, **settings})
        for block in self.blocks:
            del block.attn.causal_mask
            block.attn.causal_mask = torch.Tensor()
        self.register_load_state_dict_pre_hook(_without_masks)

    @property
    def begin(self) -> int:
        """The token that opens every sequence."""
        return self.num_tokens - 1

    def forward(
        self, x: torch.Tensor, context: torch.Tensor | None = None, cache: KeyValueCache | None = None
    ) -> torch.Tensor:
        """Tokens (B, L), context (B, K, width) -> logits (B, L, num_tokens).

        Args:
            x: without a cache the sequence from BOS on; with one its next tokens.
            context: for cross-attention; a cache holds its own.
            cache: is moved on by these tokens.
        """
        if cache is None:
            return super().forward(x, context)
        positions = self.position_embeddings.embedding.weight[cache.length : cache.length + x.shape[1]]
        hidden = self.token_embeddings(x) + positions
        for number, block in enumerate(self.blocks):
            hidden = hidden + self._attend(block.attn, block.norm1(hidden), cache, number)
            if self.with_cross_attention:
                cross, (keys, values) = block.cross_attn, cache.context[number]
                query = in_heads(cross.to_q(block.norm_cross_attn(hidden)), cross.num_heads)
                found = F.scaled_dot_product_attention(query, keys, values, scale=cross.scale)
                hidden = hidden + cross.out_proj(found.transpose(1, 2).flatten(2))
            hidden = hidden + block.mlp(block.norm2(hidden))
        cache.length += x.shape[1]
        return self.to_logits(hidden)

    @staticmethod
    def _attend(attention: nn.Module, x: torch.Tensor, cache: KeyValueCache, number: int) -> torch.Tensor:
        """Self-attention of new tokens over all that came before each."""
        if attention.use_combined_linear:
            parts = attention.qkv(x).chunk(3, -1)
        else:
            parts = (attention.to_q(x), attention.to_k(x), attention.to_v(x))
        query, key, value = (in_heads(part, attention.num_heads) for part in parts)
        begin, end = cache.length, cache.length + x.shape[1]
        keys, values = cache.keys[number][:, :, :end], cache.values[number][:, :, :end]
        keys[:, :, begin:], values[:, :, begin:] = key, value
        mask = None if end - begin == 1 else x.new_ones(end - begin, end, dtype=torch.bool).tril(begin)
        found = F.scaled_dot_product_attention(query, keys, values, attn_mask=mask, scale=attention.scale)
        return attention.out_proj(found.transpose(1, 2).flatten(2))

    def next_logits(self, tokens: torch.Tensor, context: torch.Tensor | None = None) -> torch.Tensor:
        """Logits (B, T, codes) of the tokens (B, T) themselves, each from those before it; BOS is not among them."""
        sequence = F.pad(tokens[:, :-1], (1, 0), value=self.begin)
        return self(sequence, context)[..., : self.begin]

    def log_likelihood(self, tokens: torch.Tensor, context: torch.Tensor | None = None) -> torch.Tensor:
        """log p of each token (B, T) given those before it, in nats: (B, T), each at most 0."""
        logits = self.next_logits(tokens, context).float()
        return -F.cross_entropy(logits.transpose(1, 2), tokens, reduction="none")


def _without_masks(module: nn.Module, state: dict[str, Any], prefix: str, *args: Any) -> None:
    """Leave the causal masks of MONAI's own state dicts aside: they are no weights."""
    for name in [name for name in state if name.startswith(prefix) and name.endswith(f".attn.{MASK}")]:
        del state[name]
