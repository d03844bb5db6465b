"""Text-to-image latent diffusion and a segmentation network as one network (Dombrowski et al., ICCV 2023).

    attention   image + word -> where the denoiser looks at the word            weak mask
    removal     image + weak mask -> the image without the object               refined mask
    segmenter   image -> logits of K concepts, trained on those masks alone     final mask

The paper's segmenter is a U-Net of one concept; this one has a channel for each concept that it was trained on.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from monai.networks.nets import BasicUNet
from torch import nn

from synthzoo.errors import UserError
from synthzoo.networks.text_to_image import TextToImage
from synthzoo.networks.weights import expect_same_network, read_state

PROMPT = "a photo of a {concept}"
BACKGROUND = "a photo of a background"


class ConceptNetwork(TextToImage):
    """`TextToImage` with a segmentation network of the concepts.

    Args:
        segmenter: images (B, bands, S, S) in [-1, 1] -> logits (B, K, S, S), such as `segmentation_unet`.
        concepts: K words, one for each channel of the segmenter.
        prompt: of a concept, with {concept} where its word stands.
        background: prompt of what is no object.
        parts: of `TextToImage`.
    """

    def __init__(
        self,
        segmenter: nn.Module,
        concepts: Sequence[str],
        prompt: str = PROMPT,
        background: str = BACKGROUND,
        **parts: Any,
    ) -> None:
        super().__init__(**parts)
        self.segmenter, self.concepts = segmenter, list(concepts)
        if "{concept}" not in prompt:
            raise UserError(f"prompt is {prompt!r}, but must hold {{concept}}, such as '{PROMPT}'.")
        self.prompt, self.background = prompt, background

    def prompt_of(self, concept: str) -> str:
        """The prompt in which a concept stands."""
        return self.prompt.replace("{concept}", concept)

    def channel(self, concept: str) -> int | None:
        """The segmenter's channel of a concept; None where it was trained on none of that name."""
        return self.concepts.index(concept) if concept in self.concepts else None

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Images (B, bands, S, S) in [0, 1] -> probability of each concept, (B, K, S, S)."""
        return self.segmenter(2 * image - 1).sigmoid()


def segmentation_unet(
    bands: int = 3, concepts: int = 4, features: Sequence[int] = (16, 32, 64, 128, 128, 16)
) -> BasicUNet:
    """MONAI's U-Net with the paper's parts: double convolutions with batch norm and ReLU, transposed ones upwards.

    Args:
        bands: of the image.
        concepts: channels of the logits.
        features: widths of the five levels and of the last one; the paper's are 64, 128, 256, 512, 1024 and 64.
    """
    return BasicUNet(
        spatial_dims=2,
        in_channels=bands,
        out_channels=concepts,
        features=tuple(features),
        act=("relu", {"inplace": True}),
        norm="batch",
        upsample="deconv",
    )


def segmenter_parameters(network: ConceptNetwork) -> list[nn.Parameter]:
    """Parameters of the last stage: those of the segmenter alone."""
    return list(network.segmenter.parameters())


def begin_removal(network: ConceptNetwork, path: str | Path, device: str | torch.device = "cpu") -> ConceptNetwork:
    """The network with autoencoder, denoiser and text encoder of any text to image, as the removal's stage begins.

    Args:
        network: whose segmenter is still to be trained; it stays as it is.
        path: weights of the stage that trained the denoiser, or of a `TextToImage` of the same parts.
        device: where it is moved.

    Raises:
        UserError: the file cannot be read, or its network has other parts.
    """
    own = {name: value for name, value in network.state_dict().items() if name.startswith("segmenter.")}
    given = {name: value for name, value in read_state(path).items() if not name.startswith("segmenter.")}
    expect_same_network(network, {**given, **own}, path)
    network.load_state_dict(given, strict=False)
    return network.to(device)
