"""What could do a brain generator's work alone: its closed form, its U-Net, the mean of a request, a training image."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from synthzoo.datasets.brain.phantoms import BrainPhantomDataset, condition_vector
from synthzoo.errors import UserError
from synthzoo.networks.weights import expect_same_network, load_weights, read_state
from synthzoo.systems.brain_ldm.linear_denoiser import LatentGaussian
from synthzoo.systems.brain_ldm.network import HybridConditioning

CLOSED_FORM, NETWORK, MEAN = (
    "closed form alone, U-Net silenced",
    "U-Net alone, closed form silenced",
    "mean of the request",
)
NEAREST = "nearest training phantom by conditions"


class ClosedFormAlone(nn.Module):
    """The linear denoiser of a `HybridConditioning`, whose U-Net says nothing."""

    def __init__(self, gaussian: LatentGaussian) -> None:
        super().__init__()
        self.linear = gaussian

    def forward(self, x: torch.Tensor, timesteps: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        """Latent (B, C, d, h, w), timesteps (B,), context (B, 1, K) -> prediction (B, C, d, h, w)."""
        return self.linear(x, timesteps, context[:, 0].to(x.dtype))[0]


class NetworkAlone(nn.Module):
    """The U-Net of a `HybridConditioning` without what the linear denoiser predicts; it still sees its maps."""

    def __init__(self, hybrid: nn.Module) -> None:
        super().__init__()
        self.hybrid = hybrid

    def forward(self, x: torch.Tensor, timesteps: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        """Latent (B, C, d, h, w), timesteps (B,), context (B, 1, K) -> prediction (B, C, d, h, w)."""
        linear = self.hybrid.gaussian(x, timesteps, context[:, 0].to(x.dtype))[0]
        return self.hybrid(x, timesteps, context) - linear


class MeanInferer:
    """Decodes the mean latent of each request: no noise, no steps, no network."""

    @torch.inference_mode()
    def __call__(self, inputs: torch.Tensor, network: Any, conditions: torch.Tensor, **kwargs: Any) -> torch.Tensor:
        """Noise (B, C, d, h, w), which counts for nothing, conditions (B, K) -> image (B, 1, D, H, W) in [0, 1]."""
        mean = network.denoiser.gaussian.expected(network.conditions(conditions))
        return network.decode(mean.to(inputs)).clamp(0, 1)


def with_denoiser(network: nn.Module, denoiser: nn.Module) -> nn.Module:
    """The network with another denoiser; all other parts are shared, none is changed."""
    other = copy.copy(network)
    other._modules = dict(network._modules)
    other.denoiser = denoiser
    return other.eval()


def has_closed_form(network: nn.Module) -> bool:
    """Whether the network's denoiser adds to a linear one."""
    return getattr(network.denoiser, "gaussian", None) is not None


def nearest_phantoms(requested: np.ndarray, low: np.ndarray, high: np.ndarray, size: int, **options: Any) -> np.ndarray:
    """For each request the training phantom of the nearest conditions, each scaled by its bounds, (N, D, H, W).

    Args:
        requested: (N, K) in user units.
        low, high: bounds of the conditions (K,).
        size: training phantoms among which it is sought.
        options: of `BrainPhantomDataset`.

    Raises:
        UserError: no training phantoms.
    """
    if size < 1:
        raise UserError(f"train_size = {size}: the nearest of at least 1 training phantom can be found.")
    rows = BrainPhantomDataset(size, split="train", **options)
    known = np.stack([condition_vector(rows.params(row)).numpy() for row in range(size)])
    apart = (requested[:, None] - known[None]) / (high - low)
    chosen = np.square(apart).sum(2).argmin(1)
    return np.stack([rows.image(int(row)) for row in chosen]).astype(np.float32)


def start_without(network: nn.Module, weights: str | Path, device: str | torch.device | None = None) -> nn.Module:
    """Begin to train a denoiser without the closed form behind an autoencoder that is trained already.

    Args:
        network: `LatentDiffusion` without a linear denoiser, untrained.
        weights: state dict of one with or without it, from which all but the denoiser is taken.
        device: where the network is moved.

    Raises:
        UserError: the weights are of another autoencoder.
    """
    state = network.state_dict()
    state |= {name: value for name, value in read_state(weights).items() if not name.startswith("denoiser.")}
    expect_same_network(network, state, weights)
    network.load_state_dict(state)
    return network.eval() if device is None else network.eval().to(device)


def network_without(network: nn.Module, unet: nn.Module, weights: str | Path) -> nn.Module:
    """The network that was trained without the closed form, beside the one with it.

    Args:
        network: the bundle's, which is not changed.
        unet: of the other one, untrained.
        weights: of the other one, all of it.
    """
    other = copy.deepcopy(network)
    other.denoiser = HybridConditioning(unet)
    device = next(network.parameters()).device
    return load_weights(other, weights, device)
