"""Codes in which a denoiser works: principal components of an image's patches, or an autoencoder's latents.

The private image and its training set are encoded by the same map without chance, so that noise level 0 shows the image
itself; a codec that erases the fingerprint would make every count zero, which `noise_levels.expect_hits` checks first.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from synthzoo.errors import UserError


class PatchCodec(nn.Module):
    """Images (N, 1, S, S) in [0, 1] <-> codes (N, K, S / p, S / p): K leading principal components of p x p patches.

    Linear, orthonormal and fitted in closed form, so that it costs no training and its loss is known exactly.

    Args:
        size: S.
        patch: p, a divisor of S.
        components: K, at most p^2; p^2 loses nothing.

    Raises:
        UserError: a patch that does not divide the size, or too many components.
    """

    def __init__(self, size: int = 128, patch: int = 8, components: int = 16) -> None:
        super().__init__()
        if size % patch or not 1 <= components <= patch**2:
            raise UserError(
                f"size = {size}, patch = {patch}, components = {components}: the patch divides the size, and there are "
                f"1 to {patch**2} components of its pixels."
            )
        self.size, self.patch, self.components = int(size), int(patch), int(components)
        self.register_buffer("template", torch.full((1, size, size), 0.5))
        self.register_buffer("basis", torch.eye(patch**2)[:components])
        self.register_buffer("scale", torch.ones(()))

    @property
    def shape(self) -> tuple[int, int, int]:
        """(K, S / p, S / p), the shape of a code."""
        return self.components, self.size // self.patch, self.size // self.patch

    @torch.no_grad()
    def fit(self, images: torch.Tensor) -> PatchCodec:
        """Set template, basis and scale from images (N, 1, S, S); codes then have mean 0 and mean square 1."""
        images = images.to(self.template)
        self.template.copy_(images.mean(0))
        patches = F.pixel_unshuffle(images - self.template, self.patch).movedim(1, -1).flatten(0, -2).double()
        values, vectors = torch.linalg.eigh(patches.T @ patches / len(patches))
        basis = vectors.T.flip(0)[: self.components]
        basis = basis * basis.sum(1, keepdim=True).sign().where(basis.sum(1, keepdim=True) != 0, torch.ones(1).double())
        self.basis.copy_(basis)
        # One number for all components, so that a code is the image turned: what is large stays large under noise.
        self.scale.fill_(float(values.flip(0)[: self.components].clamp_min(1e-12).mean() ** -0.5))
        return self

    def encode(self, image: torch.Tensor) -> torch.Tensor:
        """Images (N, 1, S, S) in [0, 1] -> codes (N, K, S / p, S / p)."""
        patches = F.pixel_unshuffle(image - self.template, self.patch)
        return torch.einsum("nchw,kc->nkhw", patches, self.basis * self.scale)

    def decode(self, code: torch.Tensor) -> torch.Tensor:
        """Codes (N, K, S / p, S / p) -> images (N, 1, S, S) in [0, 1]."""
        patches = torch.einsum("nkhw,kc->nchw", code, self.basis / self.scale)
        return (F.pixel_shuffle(patches, self.patch) + self.template).clamp(0, 1)


class AutoencoderCodec(nn.Module):
    """Images (N, 1, S, S) in [0, 1] <-> latents (N, C, S / f, S / f) of a frozen autoencoder: means, without chance.

    Args:
        autoencoder: has encode(x) -> (mean, standard deviation) and decode(z), such as MONAI's `AutoencoderKL`.
        shape: (C, S / f, S / f).
        size: S.
        channels: of its images; a grey radiograph is repeated over them, and their mean is taken back.
    """

    def __init__(self, autoencoder: nn.Module, shape: tuple[int, int, int], size: int = 512, channels: int = 3) -> None:
        super().__init__()
        self.autoencoder = autoencoder.requires_grad_(False)
        self.shape, self.size, self.channels = tuple(int(n) for n in shape), int(size), int(channels)
        self.register_buffer("scale", torch.ones(()))

    @torch.no_grad()
    def fit(self, images: torch.Tensor) -> AutoencoderCodec:
        """Set the scale so that latents of images (N, 1, S, S) have mean square 1."""
        self.scale.fill_(1.0)
        self.scale.copy_(1 / torch.cat([self.encode(part) for part in images.split(8)]).square().mean().sqrt())
        return self

    def encode(self, image: torch.Tensor) -> torch.Tensor:
        """Images (N, 1, S, S) in [0, 1] -> latents."""
        return self.autoencoder.encode((2 * image - 1).expand(-1, self.channels, -1, -1))[0] * self.scale

    def decode(self, code: torch.Tensor) -> torch.Tensor:
        """Latents -> images (N, 1, S, S) in [0, 1]."""
        return ((self.autoencoder.decode(code / self.scale).mean(1, keepdim=True) + 1) / 2).clamp(0, 1)
