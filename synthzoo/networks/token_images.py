"""Images as sequences of tokens: a codebook autoencoder, the order in which its grid is read, and a transformer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from monai.utils.ordering import Ordering
from torch import nn
from torch.nn import functional as F

from synthzoo.errors import UserError
from synthzoo.networks.codebook import CodebookAutoencoder
from synthzoo.networks.token_transformer import TokenTransformer

RASTER = {"ordering_type": "raster_scan"}


class TokenImages(nn.Module):
    """Autoencoder and transformer of one bundle, with one state dict, and all ways between image, grid and sequence.

    Args:
        autoencoder: its codes and BOS are the transformer's vocabulary.
        transformer: of sequences as long as the grid.
        token_shape: grid of tokens of one image.
        margin: voxels at both ends of each axis that are always background: they are cut off before encoding and are
            zeros after decoding. None cuts nothing.
        ordering: arguments of `monai.utils.Ordering` besides dimensions, such as {"ordering_type": "raster_scan",
            "rot90_axes": [[0, 1]]}.

    Raises:
        UserError: vocabulary or length of the two parts differ.
    """

    def __init__(
        self,
        autoencoder: CodebookAutoencoder,
        transformer: TokenTransformer,
        token_shape: Sequence[int],
        margin: Sequence[int] | None = None,
        ordering: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.autoencoder, self.transformer = autoencoder, transformer
        self.token_shape = tuple(int(n) for n in token_shape)
        self.margin = tuple(int(n) for n in (margin or [0] * len(self.token_shape)))
        codes, length = autoencoder.num_embeddings, math.prod(self.token_shape)
        if transformer.num_tokens != codes + 1 or transformer.max_seq_len < length:
            raise UserError(
                f"network_def: {codes} codes on a grid of {length} need a transformer of {codes + 1} tokens and length "
                f"{length}, not of {transformer.num_tokens} and {transformer.max_seq_len}."
            )
        settings = {**RASTER, **{key: _tuples(value) for key, value in dict(ordering or {}).items()}}
        self.ordering = Ordering(spatial_dims=len(self.token_shape), dimensions=(1, *self.token_shape), **settings)
        # Not among the weights: both follow from the config, and the weights belong to it anyway.
        self.register_buffer("order", torch.from_numpy(self.ordering.get_sequence_ordering()), persistent=False)
        places = torch.from_numpy(self.ordering.get_revert_sequence_ordering())
        self.register_buffer("places", places, persistent=False)

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """(1, *grid): one number for each token."""
        return (1, *self.token_shape)

    def field(self, image: torch.Tensor) -> torch.Tensor:
        """Image (B, C, *spatial) without its margin."""
        for axis, width in enumerate(self.margin, start=2):
            image = image.narrow(axis, width, image.shape[axis] - 2 * width)
        return image

    def encode(self, image: torch.Tensor) -> torch.Tensor:
        """Image (B, C, *spatial) in [0, 1] -> grid of tokens (B, *grid), int64."""
        return self.autoencoder.encode_tokens(self.field(image))

    def decode(self, tokens: torch.Tensor) -> torch.Tensor:
        """Grid of tokens (B, *grid) -> image (B, C, *spatial), about [0, 1], its margin 0."""
        pads = [width for width in reversed(self.margin) for _ in range(2)]
        return F.pad(self.autoencoder.decode_tokens(tokens), pads)

    def sequence(self, grid: torch.Tensor) -> torch.Tensor:
        """Values on the grid (B, *grid) -> in the order in which the transformer reads them, (B, T)."""
        return grid.flatten(1)[:, self.order]

    def grid(self, sequence: torch.Tensor) -> torch.Tensor:
        """The inverse of `sequence`."""
        return sequence[:, self.places].reshape(len(sequence), *self.token_shape)

    def tokenise(self, image: torch.Tensor) -> torch.Tensor:
        """Image (B, C, *spatial) -> sequence of tokens (B, T)."""
        return self.sequence(self.encode(image))

    def context(self, conditions: torch.Tensor | None, batch: int) -> torch.Tensor | None:
        """What the transformer's cross-attention reads, (B, K, width); None where there are no conditions."""
        return None

    def log_likelihood(self, tokens: torch.Tensor, conditions: torch.Tensor | None = None) -> torch.Tensor:
        """log p of each token of a sequence (B, T) given those before it and the conditions, in nats: (B, T)."""
        return self.transformer.log_likelihood(tokens, self.context(conditions, len(tokens)))


def _tuples(value: Any) -> Any:
    """Lists of a JSON config as the tuples that MONAI's `Ordering` compares with."""
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value
