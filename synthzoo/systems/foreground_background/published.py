"""Stable Diffusion 1.x from a folder on this machine as a concept network: masks of any word that its text model knows.

The folder is as diffusers writes it, such as a copy of CompVis/stable-diffusion-v1-4 (CreativeML Open RAIL-M): unet/,
vae/, text_encoder/, tokenizer/ and scheduler/. The U-Net becomes MONAI's, whose attention can be read; autoencoder and
text encoder are those of diffusers and transformers. Nothing is downloaded and no code of the folder runs. The
segmentation network of such a network is new; until it is trained, it has no concepts.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from synthzoo.diffusion.schedule import NoiseSchedule
from synthzoo.errors import UserError
from synthzoo.networks.latent_images import ColourAutoencoder
from synthzoo.networks.released import read_config
from synthzoo.networks.stable_diffusion import PublishedTokenizer
from synthzoo.networks.stable_diffusion_weights import (
    SCALE,
    SCHEDULER,
    read_autoencoder,
    read_text_encoder,
    read_unet,
)
from synthzoo.systems.foreground_background.network import (
    BACKGROUND,
    PROMPT,
    ConceptNetwork,
    segmentation_unet,
)

A_CONCEPT = "what is sought, such as 'dog'"
PARTS = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")
FEATURES = (64, 128, 256, 512, 1024, 64)  # of the paper's segmenter


def stable_diffusion_concepts(
    folder: str | Path,
    size: int = 512,
    concepts: Sequence[str] = (),
    prompt: str = PROMPT,
    background: str = BACKGROUND,
    features: Sequence[int] = FEATURES,
    device: str | torch.device = "cpu",
) -> ConceptNetwork:
    """The concept network in a folder of Stable Diffusion 1.x, on a device, ready to predict.

    Args:
        folder: with the parts that diffusers writes.
        size: of the images in pixels, 512 for the released weights.
        concepts: channels of the new segmenter, at least one is made.
        prompt, background: see `ConceptNetwork`.
        features: of the segmenter.
        device: where it is moved.

    Raises:
        UserError: no folder, a part is missing or of another model, a size that the autoencoder cannot halve; diffusers
            or transformers is not installed.
    """
    root = Path(folder)
    if not str(folder) or not root.is_dir():
        raise UserError(
            f"folder '{folder}' is no folder: give a local copy of Stable Diffusion 1.x with {', '.join(PARTS)}."
        )
    lost = [part for part in PARTS if not (root / part).is_dir()]
    if lost:
        raise UserError(
            f"{root}: lacks {', '.join(lost)}; give a folder as diffusers writes it, with {', '.join(PARTS)}."
        )
    config = read_config(root / "vae")
    halves = 2 ** (len(config.get("block_out_channels", (0,) * 4)) - 1)
    least = halves * 2 ** (len(read_config(root / "unet").get("block_out_channels", (0,) * 4)) - 1)
    if int(size) < least or int(size) % least:
        raise UserError(f"image_size = {size}: must be a multiple of {least} for {root}, such as {16 * least}.")
    tokenizer = PublishedTokenizer(root / "tokenizer", _tokens(root / "text_encoder"), A_CONCEPT)
    network = ConceptNetwork(
        segmenter=segmentation_unet(3, max(len(concepts), 1), features),
        concepts=concepts,
        prompt=prompt,
        background=background,
        autoencoder=ColourAutoencoder(read_autoencoder(root / "vae")),
        denoiser=read_unet(root / "unet"),
        text=read_text_encoder(root / "text_encoder"),
        tokenizer=tokenizer,
        schedule=NoiseSchedule.released(read_config(root / "scheduler", SCHEDULER), root / "scheduler" / SCHEDULER),
        latent_shape=(int(config.get("latent_channels", 4)), int(size) // halves, int(size) // halves),
    )
    network.scale_factor.fill_(float(config.get("scaling_factor", SCALE)))
    network.fitted.fill_(True)
    return network.eval().to(device)


def _tokens(folder: Path) -> int:
    """Tokens of a prompt that a text encoder takes."""
    settings: dict[str, Any] = read_config(folder)
    return int((settings.get("text_config") or settings).get("max_position_embeddings", 77))
