"""What could do a denoiser's work alone, its closed form or its U-Net, in its place: rows beside the whole."""

from __future__ import annotations

import copy

import torch
from torch import nn

from synthzoo.networks.linear_denoiser import LatentGaussian


class ClosedFormAlone(nn.Module):
    """The linear denoiser of a hybrid such as `ConditionedDenoiser`, whose U-Net says nothing."""

    def __init__(self, gaussian: LatentGaussian) -> None:
        super().__init__()
        self.gaussian = gaussian

    def forward(self, x: torch.Tensor, timesteps: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        """Latent (B, C, d, h, w), timesteps (B,), context (B, 1, K) -> prediction (B, C, d, h, w)."""
        return self.gaussian(x, timesteps, context[:, 0].to(x.dtype))[0]


class NetworkAlone(nn.Module):
    """The U-Net of such a hybrid without what the linear denoiser predicts; it still sees its maps."""

    def __init__(self, hybrid: nn.Module) -> None:
        super().__init__()
        self.hybrid = hybrid

    def forward(self, x: torch.Tensor, timesteps: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        """Latent (B, C, d, h, w), timesteps (B,), context (B, 1, K) -> prediction (B, C, d, h, w)."""
        linear = self.hybrid.gaussian(x, timesteps, context[:, 0].to(x.dtype))[0]
        return self.hybrid(x, timesteps, context) - linear


def with_denoiser(network: nn.Module, denoiser: nn.Module) -> nn.Module:
    """The network with another denoiser; all other parts are shared, none is changed."""
    other = copy.copy(network)
    other._modules = dict(network._modules)
    other.denoiser = denoiser
    return other.eval()


def has_closed_form(network: nn.Module) -> bool:
    """Whether the network's denoiser adds to a linear one."""
    return getattr(network.denoiser, "gaussian", None) is not None


def closed_form_alone(network: nn.Module) -> nn.Module:
    """The network with the closed form of its denoiser in the denoiser's place, for a config."""
    return with_denoiser(network, ClosedFormAlone(network.denoiser.gaussian))
