"""The same weights in other people's samplers, to compare with: MONAI's inferer, and that of monai-generative 0.2.3.

Both are called as `SynthesisInferer` is: (noise, network, conditions) -> image. Both run DDIM as the paper does.
"""

from __future__ import annotations

import copy
import inspect
from typing import Any

import torch
from torch import nn

from synthzoo.errors import UserError

PREDICTION = {"epsilon": "epsilon", "v": "v_prediction"}


class DecodeOnly(nn.Module):
    """Adapter of an autoencoder for the baselines' inferers, in front of the network's own latent statistics."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def decode_stage_2_outputs(self, latent: torch.Tensor) -> torch.Tensor:
        """Normalised latent (B, C, d, h, w) -> image (B, 1, D, H, W)."""
        return self.network.decode(latent)


class MonaiSampler:
    """`monai.inferers.LatentDiffusionInferer` with `DDIMScheduler`, as they stand in MONAI.

    Args:
        network: composite network; it is copied.
        steps: network calls per image.
        timesteps: replaces the scheduler's own ones.
    """

    name = "MONAI"

    def __init__(self, network: torch.nn.Module, steps: int = 50, timesteps: list[int] | None = None) -> None:
        self.network = copy.deepcopy(network).eval()
        self.scheduler = self.make_scheduler(network.schedule)
        self.scheduler.alphas_cumprod = network.schedule.alpha.float() ** 2
        self.scheduler.set_timesteps(steps)
        if timesteps is not None:
            self.scheduler.timesteps = torch.tensor(timesteps)
        self.inferer = self.make_inferer()
        self.autoencoder = DecodeOnly(self.network)

    def make_scheduler(self, schedule: Any) -> Any:
        """The baseline's DDIM scheduler; its noise levels are set afterwards."""
        from monai.networks.schedulers import DDIMScheduler

        return DDIMScheduler(schedule.num_steps, clip_sample=False, prediction_type=PREDICTION[schedule.prediction])

    def make_inferer(self) -> Any:
        """The baseline's inferer."""
        from monai.inferers import LatentDiffusionInferer

        return LatentDiffusionInferer(self.scheduler, scale_factor=1.0)

    @torch.no_grad()
    def __call__(
        self, inputs: torch.Tensor, network: Any = None, conditions: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Noise (B, C, d, h, w), conditions (B, K) in user units -> image (B, 1, D, H, W) in [0, 1].

        `network` is there for the signature only: the copy made at the start is used.
        """
        if conditions is None:
            token = self.network.conditions.null(inputs.shape[0])
        else:
            token = self.network.conditions(conditions)
        image = self.inferer.sample(
            inputs,
            autoencoder_model=self.autoencoder,
            diffusion_model=self.network.denoiser,
            scheduler=self.scheduler,
            conditioning=token[:, None],
            mode="crossattn",
            verbose=False,
        )
        return image.float().clamp(0, 1)


class GenerativeSampler(MonaiSampler):
    """The inferer, scheduler and networks of monai-generative 0.2.3, carrying the same weights.

    Its U-Net and its autoencoder's decoder replace those of the copied network; what that package does not have
    (patches, the linear path, the latent mean) stays ours.

    Args:
        network, steps: as in `MonaiSampler`.
        settings: the `network_def` of the bundle's config, for the sizes of the two networks.

    Raises:
        UserError: the package is not installed.
    """

    name = "monai-generative"

    def __init__(self, network: torch.nn.Module, steps: int = 50, settings: dict | None = None) -> None:
        self.nets = import_generative()[0]
        super().__init__(network, steps)
        sizes = dict(settings["denoiser"]["unet"])
        unet = self.nets.DiffusionModelUNet(**translated(self.nets.DiffusionModelUNet, sizes))
        self.network.denoiser.unet = carry(self.network.denoiser.unet, unet, [(".out_proj.", ".to_out.0.")])
        sizes, own = dict(settings["autoencoder"]), self.network.autoencoder
        volume = int(sizes.get("patch", 1)) ** 3
        sizes["in_channels"], sizes["out_channels"] = sizes["in_channels"] * volume, sizes["out_channels"] * volume
        other = self.nets.AutoencoderKL(**translated(self.nets.AutoencoderKL, sizes))
        own.decoder = carry(own.decoder, other.decoder, [])
        own.post_quant_conv = carry(own.post_quant_conv, other.post_quant_conv, [])

    def make_scheduler(self, schedule: Any) -> Any:
        """As in MonaiSampler, with monai-generative's class."""
        scheduler = import_generative()[1].DDIMScheduler
        return scheduler(schedule.num_steps, clip_sample=False, prediction_type=PREDICTION[schedule.prediction])

    def make_inferer(self) -> Any:
        """As in MonaiSampler, with monai-generative's class."""
        return import_generative()[2].LatentDiffusionInferer(self.scheduler, scale_factor=1.0)


def import_generative() -> tuple[Any, Any, Any]:
    """`generative.networks.nets`, `.networks.schedulers` and `.inferers` of monai-generative 0.2.3.

    The package was written for MONAI 1.3 and imports one name from where it stood then; the name is put there.

    Raises:
        UserError: the package is not installed or does not import.
    """
    import monai.config
    import monai.utils

    if not hasattr(monai.config, "IgniteInfo"):
        monai.config.IgniteInfo = monai.utils.IgniteInfo
    try:
        from generative import inferers
        from generative.networks import nets, schedulers
    except ImportError as error:
        raise UserError(
            f"monai-generative cannot be imported ({error}): pip install --no-deps monai-generative==0.2.3"
        ) from error
    return nets, schedulers, inferers


def translated(kind: type, sizes: dict) -> dict:
    """Settings of a MONAI network as monai-generative names them; those that it does not know are left out."""
    sizes = {("num_channels" if name == "channels" else name): value for name, value in sizes.items()}
    known = inspect.signature(kind).parameters
    return {name: value for name, value in sizes.items() if name in known}


def carry(source: nn.Module, target: nn.Module, names: list[tuple[str, str]]) -> nn.Module:
    """`target` with the weights of `source`, strictly, after replacing parts of names; (`postconv` was once `conv`)."""
    state = {}
    for name, value in source.state_dict().items():
        for new, old in [*names, (".postconv.", ".conv.")]:
            name = name.replace(new, old)
        state[name] = value
    target.load_state_dict(state, strict=True)
    device = next(source.parameters()).device
    return target.to(device).eval()
