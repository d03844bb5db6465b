"""Translation of a slice to another contrast: a ControlNet on a frozen latent diffusion model (arXiv 2302.05543).

    down, mid  = controlnet(z_t, t, embedding(source), target)      residuals of the U-Net's encoder, times a scale
    prediction = unet(z_t, t, target, down, mid)                    the U-Net's weights stay those of stage 2

The contrast is a class of the U-Net in place of a prompt; the source enters through the ControlNet's embedding alone,
with its own contrast beside it as maps. One module with one state dict; a regression U-Net, the plain baseline, lies in
it too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from monai.networks.nets import AutoencoderKL
from torch import nn
from torch.nn import functional as F

from synthzoo.errors import UserError
from synthzoo.networks.hybrid import constant_maps
from synthzoo.networks.latent_images import LatentImages
from synthzoo.networks.plain_unet import PlainUNet
from synthzoo.networks.weights import load_weights
from synthzoo.systems.monai_generative.translation_phantoms import SOURCES, TARGETS, slices_of, volume_of

FIXED_NOISE = 7  # seed of the noise of a plain forward pass


class PackedAutoencoderKL(AutoencoderKL):
    """MONAI's AutoencoderKL of slices behind a fixed rearrangement of `pack` by `pack` pixels into channels.

    Args:
        pack: edge of a block of pixels; 1 makes this exactly `monai.networks.nets.AutoencoderKL`.
        kwargs: as in AutoencoderKL; in_channels and out_channels count those of the image.
    """

    def __init__(self, pack: int = 1, in_channels: int = 1, out_channels: int = 1, **kwargs: Any) -> None:
        super().__init__(
            spatial_dims=2, in_channels=in_channels * pack**2, out_channels=out_channels * pack**2, **kwargs
        )
        self.pack = int(pack)

    def encode(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Images (B, C, H, W) -> mean and standard deviation of the latent."""
        return super().encode(F.pixel_unshuffle(x, self.pack))

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        """Latent -> images (B, C, H, W), not clamped."""
        return F.pixel_shuffle(super().decode(z), self.pack)


class SliceTranslator(LatentImages):
    """Autoencoder, latent denoiser with the contrast as its class, ControlNet, regression baseline, brain extractor.

    Args:
        autoencoder: of grey slices, see `GreyAutoencoder`.
        unet: MONAI's DiffusionModelUNet with a class for each of `TARGETS`.
        controlnet: MONAI's ControlNet of the same settings; its embedding takes pack^2 + len(SOURCES) channels.
        schedule: noise schedule.
        latent_shape: (C, h, w).
        regression: (B, pack^2 + len(SOURCES) + len(TARGETS), ...) -> (B, pack^2, ...); None leaves the baseline out.
        pack: blocks of so many by so many pixels of a source become channels.
        extractor_channels: width per level of the brain extractor, which takes a head (B, 1, 56, 64, 56) at 4 mm.
        grid: voxels per axis of the volume whose axial slices are translated, RAS at 2 mm.
        preview: (denoise, noise, schedule) -> latents, what `forward` samples by.

    `forward` takes brains (B, 1, *grid) as FLAIR in [0, 1], 0 outside, and gives T1w, slice by slice from a noise that
    is always the same.

    Raises:
        UserError: a U-Net or a ControlNet without a class for each target.
    """

    def __init__(
        self,
        autoencoder: nn.Module,
        unet: nn.Module,
        controlnet: nn.Module,
        schedule: Any,
        latent_shape: Sequence[int] = (4, 24, 20),
        regression: nn.Module | None = None,
        pack: int = 2,
        extractor_channels: Sequence[int] = (8, 16, 32, 48),
        grid: Sequence[int] = (80, 96, 80),
        preview: Callable | None = None,
    ) -> None:
        super().__init__(autoencoder, latent_shape, each_channel=True)
        for name, part in {"unet": unet, "controlnet": controlnet}.items():
            if getattr(part, "num_class_embeds", None) != len(TARGETS):
                raise UserError(
                    f"network_def#{name}: num_class_embeds must be {len(TARGETS)}, a class for each target."
                )
        self.unet, self.controlnet, self.regression = unet, controlnet, regression
        self.extractor = PlainUNet(3, 1, tuple(extractor_channels))
        self.schedule, self.preview, self.pack, self.grid = schedule, preview, int(pack), tuple(grid)
        noise = torch.randn(1, *self.latent_shape, generator=torch.Generator().manual_seed(FIXED_NOISE))
        self.register_buffer("fixed_noise", noise, persistent=False)

    def condition(self, source: torch.Tensor, source_contrast: torch.Tensor) -> torch.Tensor:
        """What the ControlNet sees: slices (B, 1, H, W) in blocks, and their contrast (B,) as maps, none if unnamed."""
        blocks = F.pixel_unshuffle(source, self.pack)
        known = F.one_hot(source_contrast.long(), len(SOURCES) + 1)[:, : len(SOURCES)].to(blocks.dtype)
        return torch.cat([blocks, constant_maps(known, blocks)], 1)

    def denoise(
        self,
        x: torch.Tensor,
        t: torch.Tensor,
        target: torch.Tensor,
        condition: torch.Tensor | None = None,
        scale: float = 1.0,
    ) -> torch.Tensor:
        """Prediction (B, C, h, w) for noisy latents x at timesteps t (B,) in target contrasts (B,).

        Args:
            condition: see `condition`; None is the latent diffusion model alone.
            scale: of the ControlNet's residuals.
        """
        if condition is None or scale == 0:
            return self.unet(x, t, class_labels=target)
        down, mid = self.controlnet(x, t, condition, conditioning_scale=scale, class_labels=target)
        return self.unet(
            x,
            t,
            class_labels=target,
            down_block_additional_residuals=tuple(down),
            mid_block_additional_residual=mid,
        )

    def controlled(
        self, source: torch.Tensor, source_contrast: torch.Tensor, target: torch.Tensor, scale: float = 1.0
    ) -> Callable:
        """Denoiser (x (B, ...), t (B,)) -> prediction for slices (B, 1, H, W) of contrasts (B,), see `denoise`."""
        condition = self.condition(source, source_contrast)
        return lambda x, t: self.denoise(x, t, target, condition, scale)

    def regress(self, source: torch.Tensor, source_contrast: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Slices (B, 1, H, W) in the target contrast (B,) by the plain U-Net, not clamped.

        Raises:
            UserError: the network has none.
        """
        if self.regression is None:
            raise UserError("method = regression: this network has no regression U-Net; take controlnet.")
        condition = self.condition(source, source_contrast)
        wanted = F.one_hot(target.long(), len(TARGETS)).to(condition.dtype)
        seen = torch.cat([condition, constant_maps(wanted, condition)], 1)
        return F.pixel_shuffle(self.regression(seen), self.pack)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """FLAIR brains (B, 1, *grid) in [0, 1] -> T1w, in few steps from the fixed noise."""
        return torch.stack([volume_of(self.plain(slices_of(one[0])))[None] for one in image])

    def plain(self, slices: torch.Tensor) -> torch.Tensor:
        """FLAIR slices (N, 1, H, W) in [0, 1] as T1w, see `forward`."""
        ones = torch.ones(len(slices), dtype=torch.long, device=slices.device)
        denoise = self.controlled(slices, SOURCES.index("FLAIR") * ones, TARGETS.index("T1w") * ones)
        latents = self.preview(denoise, self.fixed_noise.expand(len(slices), -1, -1, -1), self.schedule)
        return self.decode(latents).clamp(0, 1) * (slices > 0)


def begin_controlnet(
    network: SliceTranslator, path: str | Path, device: str | torch.device | None = None
) -> SliceTranslator:
    """The network as the stage of the ControlNet begins: it is a copy of the trained U-Net's encoder (section 3.1).

    All but the ControlNet is frozen, so that no gradient goes through the U-Net's encoder.

    Args:
        network: untrained.
        path: weights of stage 2.
        device: where it is moved.
    """
    network = load_weights(network, path, device)
    own, source = network.controlnet.state_dict(), network.unet.state_dict()
    own |= {name: value for name, value in source.items() if name in own and own[name].shape == value.shape}
    network.controlnet.load_state_dict(own)
    network.requires_grad_(False).controlnet.requires_grad_(True)
    return network
