"""A text-to-image network that is small and random: 32 x 32 pixels, latents of 4 x 8 x 8, three words."""

import torch
from monai.networks.nets import DiffusionModelUNet

from synthzoo.diffusion.samplers import preview
from synthzoo.diffusion.schedule import NoiseSchedule
from synthzoo.networks.latent_images import radiograph_autoencoder
from synthzoo.networks.text_to_image import TextEncoder, TextToImage
from synthzoo.networks.word_tokens import WordTokenizer

WORDS = ["nodule", "effusion", "left"]


def small_network(layers=0, learnable=False, size=8):
    torch.manual_seed(0)
    denoiser = DiffusionModelUNet(
        spatial_dims=2,
        in_channels=4,
        out_channels=4,
        channels=(16, 16),
        num_res_blocks=1,
        attention_levels=(False, True),
        norm_num_groups=8,
        num_head_channels=8,
        with_conditioning=True,
        cross_attention_dim=16,
    )
    for parameter in denoiser.parameters():
        torch.nn.init.normal_(parameter, std=0.1)  # MONAI begins with zeros where the attention comes in
    tokenizer = WordTokenizer(WORDS, length=6)
    text = TextEncoder(len(tokenizer), 16, 6, layers, learnable=learnable)
    autoencoder = radiograph_autoencoder(channels=(8, 8, 8))
    return TextToImage(autoencoder, denoiser, text, tokenizer, NoiseSchedule(100), (4, size, size), preview).eval()
