"""What could do a generator's work alone: its closed form, its U-Net, the mean of a request, a training image."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from synthzoo.errors import UserError
from synthzoo.evaluation.denoiser_parts import ClosedFormAlone
from synthzoo.networks.linear_denoiser import LatentGaussian
from synthzoo.networks.weights import expect_same_network, load_weights, read_state
from synthzoo.systems.brain_ldm.network import HybridConditioning

CLOSED_FORM, FITTED, NETWORK, MEAN = (
    "closed form alone, U-Net silenced",
    "closed form alone, fitted to the training set",
    "U-Net alone, closed form silenced",
    "mean of the request",
)
NEAREST = "nearest training phantom by conditions"


class MeanInferer:
    """Decodes the mean latent of each request: no noise, no steps, no network."""

    @torch.inference_mode()
    def __call__(self, inputs: torch.Tensor, network: Any, conditions: torch.Tensor, **kwargs: Any) -> torch.Tensor:
        """Noise (B, C, d, h, w), which counts for nothing, conditions (B, K) -> image (B, 1, D, H, W) in [0, 1]."""
        mean = network.denoiser.gaussian.expected(network.conditions(conditions))
        return network.decode(mean.to(inputs)).clamp(0, 1)


@torch.no_grad()
def fitted_closed_form(network: nn.Module, latents: Callable[[nn.Module], Any], modes: int) -> nn.Module:
    """A copy of the network that has the closed form alone, fitted to the training set, in place of its denoiser.

    Args:
        network: `LatentDiffusion` without a linear denoiser, trained; it is not changed.
        latents: makes the training set's latents of the copy, such as `LatentDataset`, which also fits it.
        modes: see `LatentGaussian`.
    """
    other = copy.deepcopy(network)
    gaussian = LatentGaussian(network.latent_shape, len(network.conditions), modes, network.schedule)
    other.denoiser = ClosedFormAlone(gaussian.to(network.latent_mean.device))
    latents(other)
    return other.eval()


def nearest_phantoms(requested: np.ndarray, low: np.ndarray, high: np.ndarray, training: Any) -> np.ndarray:
    """For each request the training phantom of the nearest conditions, each scaled by its bounds, (N, D, H, W).

    Args:
        requested: (N, K) in user units.
        low, high: bounds of the conditions (K,).
        training: the phantoms, with `image(row)` and `facts(row)`, see `evaluation.subjects`.

    Raises:
        UserError: no training phantoms.
    """
    if not len(training):
        raise UserError("train_size = 0: the nearest of at least 1 training phantom can be found.")
    known = np.stack([training.facts(row)["conditions"].numpy() for row in range(len(training))])
    apart = (requested[:, None] - known[None]) / (high - low)
    chosen = np.square(apart).sum(2).argmin(1)
    return np.stack([training.image(int(row)) for row in chosen]).astype(np.float32)


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
