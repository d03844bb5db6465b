"""A concept network that is small and random: colour images of 64 x 64, latents of 4 x 16 x 16, a handful of words."""

import torch
from monai.networks.nets import DiffusionModelUNet

from synthzoo.diffusion.schedule import NoiseSchedule
from synthzoo.networks.latent_images import colour_autoencoder
from synthzoo.networks.text_to_image import TextEncoder
from synthzoo.networks.word_tokens import WordTokenizer
from synthzoo.phantoms.scenes.captions import vocabulary
from synthzoo.systems.foreground_background.network import ConceptNetwork, segmentation_unet

CONCEPTS = ("person", "dog", "car", "bird")


def small_concepts(concepts=CONCEPTS):
    torch.manual_seed(0)
    denoiser = DiffusionModelUNet(
        spatial_dims=2,
        in_channels=4,
        out_channels=4,
        channels=(8, 8),
        num_res_blocks=1,
        attention_levels=(False, True),
        norm_num_groups=4,
        num_head_channels=4,
        with_conditioning=True,
        cross_attention_dim=8,
    )
    for parameter in denoiser.parameters():
        torch.nn.init.normal_(parameter, std=0.1)  # MONAI begins with zeros where the attention comes in
    tokenizer = WordTokenizer(vocabulary(), length=16, needed="what is sought, such as 'dog'")
    return ConceptNetwork(
        segmenter=segmentation_unet(3, len(concepts), (4, 4, 4, 4, 4, 4)),
        concepts=concepts,
        autoencoder=colour_autoencoder(channels=(8, 8, 8)),
        denoiser=denoiser,
        text=TextEncoder(len(tokenizer), 8, 16),
        tokenizer=tokenizer,
        schedule=NoiseSchedule(100),
        latent_shape=(4, 16, 16),
    ).eval()
