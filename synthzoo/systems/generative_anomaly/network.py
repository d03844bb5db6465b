"""Codes of healthy slices and how likely they are: VQ-VAE and transformer (Pinaya et al., Medical Image Analysis 2022).

    slice -> codes z_1 ... z_T (VQ-VAE) -> p(z_i | z_<i) (transformer), both of healthy slices alone

One module holds all that a bundle needs, the brain extractor and the healthy reference maps included.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from synthzoo.networks.brain_map import MapParts
from synthzoo.networks.codebook import CodebookAutoencoder
from synthzoo.networks.token_images import TokenImages
from synthzoo.networks.token_transformer import TokenTransformer
from synthzoo.systems.generative_anomaly.healing import NATS, surprise_of, upsampled
from synthzoo.systems.generative_anomaly.slices import as_heat, axial_slices

METHODS = ("healing", "likelihood")


class AutoregressiveMap(MapParts):
    """VQ-VAE and transformer of axial slices, with what a map of a scan needs besides.

    Args:
        autoencoder, transformer, token_shape, ordering: see `TokenImages`.
        grid: voxels per axis of the volume (RAS); the slices are grid[0] x grid[1].
        extractor_channels: see `MapParts`.
        units: of the images, see `to_units`.

    Buffer `limit` is the log-likelihood below which a code is healed; `TokenCalibration` sets it.
    """

    limit: torch.Tensor

    def __init__(
        self,
        autoencoder: CodebookAutoencoder,
        transformer: TokenTransformer,
        token_shape: Sequence[int],
        grid: Sequence[int] = (80, 96, 80),
        extractor_channels: Sequence[int] = (8, 16, 32, 48),
        ordering: Mapping[str, Any] | None = None,
        units: Sequence[float] = (0.0, 1.0),
    ) -> None:
        super().__init__()
        self.codes = TokenImages(autoencoder, transformer, token_shape, ordering=ordering)
        self.grid, self.units = tuple(int(n) for n in grid), tuple(units)
        # A probability of 0.005, the order of the paper's threshold, until it is calibrated.
        self.register_buffer("limit", torch.tensor(-5.3))
        self.add_map_parts(extractor_channels, len(METHODS))

    @property
    def autoencoder(self) -> CodebookAutoencoder:
        """The VQ-VAE."""
        return self.codes.autoencoder

    @property
    def transformer(self) -> TokenTransformer:
        """The transformer."""
        return self.codes.transformer

    def field(self, image: torch.Tensor) -> torch.Tensor:
        """Image (B, 1, D, H) as the VQ-VAE reads it."""
        return self.codes.field(image)

    def encode(self, image: torch.Tensor) -> torch.Tensor:
        """Image (B, 1, D, H) in units -> grid of codes (B, *token_shape), int64."""
        return self.codes.encode(image)

    def decode(self, tokens: torch.Tensor) -> torch.Tensor:
        """Grid of codes (B, *token_shape) -> image (B, 1, D, H), about in units."""
        return self.codes.decode(tokens)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Z-scores (B, 1, *grid), 0 outside the brain -> map of unlikely codes (B, 1, *grid) in [0, 1]."""
        maps = []
        for volume in image:
            slices = axial_slices(volume[None], self.units, everything=True)
            surprise = surprise_of(self.codes.log_likelihood(self.codes.tokenise(slices.images)))
            heat = as_heat(upsampled(self.codes.grid(surprise), slices.images.shape[2:]), NATS)
            maps.append(slices.volume(heat))
        return torch.cat(maps)
