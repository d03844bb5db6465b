"""A `LatentVideo` of some thousand random weights, for tests that need its shape and not its skill."""

import torch
from monai.networks.nets import AutoencoderKL, DiffusionModelUNet

from synthzoo.diffusion.samplers import preview
from synthzoo.diffusion.schedule import NoiseSchedule
from synthzoo.networks.clip_denoiser import ClipDenoiser
from synthzoo.networks.conditions import ConditionNormaliser
from synthzoo.networks.latent_images import GreyAutoencoder
from synthzoo.networks.space_time import SpaceTimeUNet
from synthzoo.systems.echonet_synthetic.network import LatentVideo, StillUNet
from synthzoo.systems.hidden_subspaces.network import ReidNetwork


def small_video_model(gallery: int = 40, filtered: bool = True) -> LatentVideo:
    """Videos of 16 frames of 32 x 32 by latents of 3 x 16 x 16; its filter knows nobody, or there is none."""
    torch.manual_seed(0)
    autoencoder = AutoencoderKL(
        2, 1, 1, (1, 1), (8, 8), (False, False), 3, 8,
        with_encoder_nonlocal_attn=False, with_decoder_nonlocal_attn=False,
    )  # fmt: skip
    image = DiffusionModelUNet(2, 3, 3, (1,), (8,), (False,), norm_num_groups=8)
    video = SpaceTimeUNet(3, (8,), image_channels=3, level_range=(0, 999), heads=2, head_channels=4)
    # The last layers begin at zero; a network that gives something is wanted.
    torch.nn.init.normal_(video.out.weight, std=0.1)
    torch.nn.init.normal_(image.out[2].conv.weight, std=0.1)
    reid = ReidNetwork(3, widths=(8, 8, 8, 8), embedding=16, first_size=3, first_stride=1, max_pool=False)
    network = LatentVideo(
        GreyAutoencoder(autoencoder),
        ClipDenoiser(StillUNet(image), ConditionNormaliser([], []), sigma_data=1.0),
        ClipDenoiser(video, ConditionNormaliser([10], [85]), sigma_data=1.0),
        reid if filtered else None,
        NoiseSchedule(1000, "linear", 1e-4, 0.02, "v"),
        latent_shape=(3, 16, 16),
        frames=16,
        embedding=16,
        gallery=gallery,
        preview=preview,
    )
    return network.eval()
