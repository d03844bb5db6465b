"""Painter of label maps in the style of a reference image, by spatially adaptive normalisation (arXiv 1903.07291).

    mu, log var = encoder(style image);   x = conv(SPADE blocks(code, labels));   image = x (1 - background)

Built of MONAI's blocks. MONAI's whole `SPADENet` ends in one channel at half resolution, where no label reaches; here
a block at full resolution follows the decoder, as in the published generators (SASHIMI 2022, DGM4MICCAI 2023).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.networks.blocks import Convolution
from monai.networks.blocks.spade_norm import SPADE
from monai.networks.nets.spade_network import SPADEDecoder, SPADEEncoder, SPADENetResBlock
from monai.networks.utils import pixelshuffle, pixelunshuffle
from torch import nn
from torch.nn import functional as F

from synthzoo.networks.hybrid import constant_maps


class StylePainter(nn.Module):
    """Paints label maps of two or three dimensions in the style of a two-dimensional slice.

    Args:
        spatial_dims: of the label maps, 2 or 3.
        classes: channels K of the label maps; the first is the background, whose share of a voxel stays 0. Maps of
            fewer get empty ones behind theirs, as published.
        image_size: of the label maps, divisible by pack times 2 to the power of len(channels).
        style_size: (h, w) to which a style slice is resized, divisible by 2 to the power of len(style_channels).
        code_size: numbers of a style code.
        style_channels: of the encoder's convolutions, each of which halves the size.
        channels: of the decoder's blocks, from the coarsest to the finest, each of which doubles the size.
        head_channels: of the block at full resolution.
        hidden: channels between the label map and its scales and shifts.
        style_norm: of the encoder, "INSTANCE" as published; None keeps the intensities that instances lose.
        code_maps: give the code to every block, as maps beside the labels; as published only the coarsest has it.
        norm: of the blocks, "INSTANCE" as published; with "BATCH" a part of a head is painted as the whole is.
        any_size: begin with one vector for all places, which maps of any such size can be painted from, parts of a
            head among them; as published each place of the coarsest size has its own. Scales and shifts then stay as
            they are (published, too), where MONAI normalises them over the picture.
        pack: cubes (squares) of so many voxels an axis become channels at the door and voxels again at the end, which
            keeps every voxel's labels and costs a fraction of blocks at full resolution; 1 packs nothing.
        tones: width of the layer by which a code gives each class an intensity. Voxels start from that of their
            classes, by their shares, and the blocks paint what differs from it; 0, as published, has no such start.
    """

    def __init__(
        self,
        spatial_dims: int,
        classes: int,
        image_size: Sequence[int],
        style_size: Sequence[int],
        code_size: int = 16,
        style_channels: Sequence[int] = (16, 32, 64, 128, 128, 128),
        channels: Sequence[int] = (128, 128, 128, 64, 32, 16),
        head_channels: int = 16,
        hidden: int = 128,
        style_norm: str | None = "INSTANCE",
        code_maps: bool = False,
        norm: str = "INSTANCE",
        any_size: bool = False,
        pack: int = 1,
        tones: int = 0,
    ) -> None:
        super().__init__()
        self.classes, self.code_size, self.code_maps = int(classes), int(code_size), bool(code_maps)
        self.image_size, self.style_size = tuple(image_size), tuple(style_size)
        self.any_size, self.pack = bool(any_size), int(pack)
        voxels = self.pack**spatial_dims
        shown = self.classes * voxels + (self.code_size if self.code_maps else 0)
        coarsest = 2 ** len(channels)
        start = [coarsest] * spatial_dims if self.any_size else [n // self.pack for n in image_size]
        # MONAI's classes append to the lists that they are given.
        self.encoder = SPADEEncoder(2, 1, self.code_size, list(style_channels), list(style_size), norm=style_norm)
        self.decoder = SPADEDecoder(
            spatial_dims,
            out_channels=head_channels,
            label_nc=shown,
            input_shape=start,
            channels=list(channels),
            z_dim=self.code_size,
            spade_intermediate_channels=hidden,
            norm=norm,
            last_act=None,
        )
        self.head = SPADENetResBlock(spatial_dims, head_channels, head_channels, shown, hidden, norm)
        self.last = Convolution(spatial_dims, head_channels, voxels, conv_only=True)
        self.tones = None
        if tones:
            self.tones = nn.Sequential(nn.Linear(self.code_size, tones), nn.LeakyReLU(0.2), nn.Linear(tones, classes))
        for layer in [module for module in self.modules() if isinstance(module, SPADE)] if self.any_size else []:
            del layer.mlp_gamma.adn, layer.mlp_beta.adn

    def style(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Style slices (B, 1, h, w) in [0, 1] -> mean and log variance of their codes, (B, code_size) each."""
        if tuple(image.shape[2:]) != self.style_size:
            image = F.interpolate(image, self.style_size, mode="bilinear", antialias=True)
        return self.encoder(image)

    def forward(self, maps: torch.Tensor, code: torch.Tensor) -> torch.Tensor:
        """Label maps (B, K, ...) of sum 1 and codes (B, code_size) -> images (B, 1, ...), about [0, 1]."""
        dims, empty = maps.ndim - 2, maps.new_zeros(len(maps), self.classes - maps.shape[1], *maps.shape[2:])
        shown = torch.cat([maps, empty], 1)
        shown = pixelunshuffle(shown, dims, self.pack) if self.pack > 1 else shown
        shown = torch.cat([shown, constant_maps(code, shown)], 1) if self.code_maps else shown
        x = self.last(F.leaky_relu(self.head(self.decode(shown, code), shown), 0.2))
        x = pixelshuffle(x, dims, self.pack) if self.pack > 1 else x
        return (x if self.tones is None else x + self.toned(maps, code)) * (1 - maps[:, :1])

    def toned(self, maps: torch.Tensor, code: torch.Tensor) -> torch.Tensor:
        """The intensities that the code gives to the classes, by their shares, (B, 1, ...): what the blocks add to."""
        return torch.einsum("bk...,bk->b...", maps, self.tones(code)[:, : maps.shape[1]])[:, None]

    def decode(self, shown: torch.Tensor, code: torch.Tensor) -> torch.Tensor:
        """Features (B, head_channels, ...) of what the blocks are shown, (B, S, ...)."""
        if not self.any_size:
            return self.decoder(shown, code)
        coarsest = F.max_pool2d if shown.ndim == 4 else F.max_pool3d
        x = constant_maps(self.decoder.fc(code), coarsest(shown[:, :1], 2 ** len(self.decoder.blocks)))
        for block in self.decoder.blocks:
            x = self.decoder.upsampling(block(x, shown))
        return self.decoder.last_conv(x)


def draw_code(mean: torch.Tensor, log_variance: torch.Tensor) -> torch.Tensor:
    """A code of the posterior, (B, code_size), which carries gradients."""
    return mean + torch.randn_like(mean) * (0.5 * log_variance).exp()
