"""Latent diffusion of echo videos in two steps, reference latent and motion (EchoNet-Synthetic, arXiv 2406.00808).

One module holds all that a bundle needs, so that one state dict is the whole model: an autoencoder of single frames, a
denoiser of single latents that samples references, a network that tells patients apart in latent space with the
embeddings of those it was trained on, and a denoiser of latent clips around a reference at an ejection fraction (EF).

    z = (encode(x) - mean) scale;    mean a number a channel, scale one number, both measured on the training videos
    s(z) = max over training frames g of compare(e(z), e(g));    too near a patient where s(z) > threshold
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from synthzoo.errors import UserError
from synthzoo.networks.clip_denoiser import ClipDenoiser
from synthzoo.networks.latent_images import LatentImages


class StillUNet(nn.Module):
    """A denoiser of stills, called as denoisers of clips are; a clip is a row of stills to it.

    Args:
        unet: (x (N, C, h, w), timesteps (N,)) -> prediction (N, C, h, w), such as MONAI's `DiffusionModelUNet`.
    """

    def __init__(self, unet: nn.Module) -> None:
        super().__init__()
        self.unet = unet

    def forward(
        self, x: torch.Tensor, level: torch.Tensor, conditions: torch.Tensor | None = None, still: bool = True
    ) -> torch.Tensor:
        """Prediction for stills (N, C, h, w), or frame by frame for clips (B, C, T, h, w); knows no conditions."""
        if x.ndim == 4:
            return self.unet(x, level)
        batch, _, frames = x.shape[:3]
        flat = self.unet(x.transpose(1, 2).flatten(0, 1), level.repeat_interleave(frames))
        return flat.unflatten(0, (batch, frames)).transpose(1, 2)


class LatentVideo(LatentImages):
    """Autoencoder, image denoiser, patient filter and clip denoiser as one network of a bundle.

    Args:
        autoencoder: of frames, see `GreyAutoencoder`.
        image: denoiser of reference latents, a `ClipDenoiser` of no conditions.
        video: denoiser of clips beside their reference, a `ClipDenoiser` of EF in percent.
        reid: latents (N, C, h, w) -> embeddings (N, K), with `logits(queries, references)` (Q, R): how surely two are
            of one patient, such as `synthzoo.systems.hidden_subspaces.network.ReidNetwork`; None filters no one.
        schedule: the noise levels that both denoisers share, so that one may take over from the other (JVID).
        latent_shape: (C, h, w) of a frame.
        frames: T of the clips that `video` was made for.
        fps: frames a second of the clips.
        embedding: K.
        gallery: frames of training videos whose embeddings are kept, at most.
        preview: (denoise, noise, schedule) -> latents, the short sampler behind `forward`.
    """

    def __init__(
        self,
        autoencoder: nn.Module,
        image: ClipDenoiser,
        video: ClipDenoiser,
        reid: nn.Module | None,
        schedule: Any,
        latent_shape: Sequence[int] = (3, 8, 8),
        frames: int = 16,
        fps: float = 16.0,
        embedding: int = 128,
        gallery: int = 3000,
        preview: Callable | None = None,
    ) -> None:
        super().__init__(autoencoder, latent_shape)
        self.image, self.video, self.reid = image, video, reid
        self.schedule = image.schedule = video.schedule = schedule
        self.frames, self.fps, self.preview = int(frames), float(fps), preview
        if reid is None:
            return
        self.register_buffer("gallery", torch.zeros(int(gallery), int(embedding)))
        self.register_buffer("gallery_patient", torch.full((int(gallery),), -1, dtype=torch.int64))
        self.register_buffer("threshold", torch.tensor(1e4))

    # --- who is it like? ---------------------------------------------------------------------------------------------

    @torch.no_grad()
    def fit_gallery(self, embeddings: torch.Tensor, patients: torch.Tensor) -> None:
        """Keep what the filter compares with.

        Args:
            embeddings: of frames of the training videos, (N, K).
            patients: whose they are, integers from 0, (N,).

        Raises:
            UserError: more frames than there is room for.
        """
        if len(embeddings) > len(self.gallery):
            raise UserError(
                f"network_def#gallery = {len(self.gallery)}: the filter keeps {len(embeddings)} frames of training "
                f"videos; set it to {len(embeddings)} or more and train the network again."
            )
        self.gallery.zero_()
        self.gallery_patient.fill_(-1)
        self.gallery[: len(embeddings)] = embeddings
        self.gallery_patient[: len(patients)] = patients

    def nearest_patient(self, latents: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Score of a reference as one of the training patients, and which: (N, C, h, w) -> logits (N,), int64 (N,).

        Raises:
            UserError: the filter was never fitted.
        """
        if self.reid is None:
            raise UserError("network: has no network that tells patients apart; set filter to false.")
        known = self.gallery_patient >= 0
        if not bool(known.any()):
            raise UserError(
                "network: its filter knows no training patients; run calibrate_filter.json, or set filter to false."
            )
        scores = self.reid.logits(self.reid(latents), self.gallery[known])
        best, place = scores.max(1)
        return best, self.gallery_patient[known][place]

    # --- a plain call ------------------------------------------------------------------------------------------------

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Noise (B, C, 1 + T, h, w) -> video (B, 1, T, H, W) of no stated EF in few steps, for export tools.

        The first frame of the noise becomes the reference; nothing is filtered.
        """
        reference = self.preview(self.image.denoise, image[:, :, 0], self.schedule)

        def moving(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
            return self.video.denoise(x, t, None, image=reference)

        return self.decode(self.preview(moving, image[:, :, 1:], self.schedule)).clamp(0, 1)
