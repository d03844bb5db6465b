"""Videos from two denoisers that share one reverse process: JVID (Reynaud et al., arXiv 2409.14149) on echo latents.

The image denoiser samples a reference latent as in EchoNet-Synthetic. The video denoiser, which knows motion, denoises
the video around it, but for the steps that `switch` gives to the image denoiser, which knows single frames better.
"""

from __future__ import annotations

from typing import Any

import torch
from tqdm import tqdm

from synthzoo.diffusion.guidance import guided
from synthzoo.diffusion.stitching import stitched
from synthzoo.errors import UserError
from synthzoo.systems.echonet_synthetic.inferer import CLIP, LatentVideoInferer, stream_of
from synthzoo.systems.jvid.sampler import image_steps, joint_ddim


class JointVideoInferer(LatentVideoInferer):
    """Videos of the ejection fractions (EF) that are requested, by an image and a video denoiser in turns.

    Called with noise (B, C, 1 + T, h, w), of which the first frame becomes the reference latent, a `LatentVideo` and
    the EFs in percent (B, 1), NaN where unset; returns {"pred": videos (B, 1, T, H, W) in [0, 1], "privacy": None}.

    Args:
        switch: which reverse steps go to the image denoiser; see `synthzoo.systems.jvid.sampler.image_steps`.
        steps: reverse steps of a reference and of a video.
        guidance: weight of classifier-free guidance at the steps of the video denoiser; 1 switches it off.
        eta: share of fresh noise, 0 (DDIM) to 1 (DDPM). Each row draws it from a stream of its own.
        blur: None, or the width in latent pixels below which the image denoiser decides at its steps, coarser
            structure being the video denoiser's, which runs there too. Ours, not the published rule.
        chunk: frames that the image denoiser sees at once, which bounds the memory.
        overlap, fade, progress: as in `LatentVideoInferer`; windows concern the video denoiser alone.

    Raises:
        UserError: a rule that is none, settings out of range, fewer frames than the network's window.
    """

    def __init__(
        self,
        switch: str = "late(2)",
        steps: int = 32,
        guidance: float = 1.5,
        eta: float = 0.0,
        blur: float | None = None,
        chunk: int = 256,
        overlap: int = 8,
        fade: bool = True,
        progress: bool = False,
    ) -> None:
        super().__init__("ddim", steps, guidance, eta, overlap, fade, filter=False, progress=progress)
        image_steps(switch, steps)  # a rule that is none is refused before anything is sampled
        if blur is not None and not blur > 0:
            raise UserError(f"blur = {blur!r}: a width in latent pixels above 0 is needed, or null.")
        self.switch, self.blur, self.chunk = switch, blur, int(chunk)

    def varied(self, **changes: Any) -> JointVideoInferer:
        """The same inferer with some settings changed, by the names of its arguments."""
        names = ("switch", "steps", "guidance", "eta", "blur", "chunk", "overlap", "fade", "progress")
        return type(self)(**{**{name: getattr(self, name) for name in names}, **changes})

    def generate_latents(
        self, references: torch.Tensor, noise: torch.Tensor, conditions: torch.Tensor, network: torch.nn.Module
    ) -> torch.Tensor:
        """The latents (B, C, T, h, w) of `generate_video`."""
        video = guided(network.video.denoise, conditions.to(noise), self.guidance, {"image": references})
        if noise.shape[2] != network.frames:
            video = stitched(video, network.frames, self.overlap, self.fade)
        return joint_ddim(
            video,
            network.image.denoise,
            noise,
            network.schedule,
            self.switch,
            self.steps,
            self.eta,
            blur=self.blur,
            chunk=self.chunk,
            clip=CLIP,
            generator=[stream_of(row) for row in noise] if self.eta else None,
            progress=(lambda steps: tqdm(steps, desc="sampling", leave=False)) if self.progress else iter,
        )
