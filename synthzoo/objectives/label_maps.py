"""Losses of label maps: their autoencoder's, and of what the diffusion of their latents decodes to.

    focal cross-entropy   L = - sum_k w_k t_k (1 - p_k)^g log p_k     a voxel, t the true shares (Lin et al., ICCV 2017)
    calibrated            p = softmax(logits + log w), so that softmax(logits) tends to t and not to w t
    autoencoder           L(maps) + noise_weight L(decode(z + s e)) + kl_weight KL / batch
    diffusion             mean (prediction - target)^2 + decoded_weight a_t^2 L(decode(estimate of z))

The estimate is weighed by a_t^2: at the noisiest timesteps it is the prior's mean, which decodes to no map.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import functional as F

from synthzoo.errors import UserError
from synthzoo.objectives.latent_diffusion import LatentDiffusionObjective


class LabelLoss:
    """Focal cross-entropy of logits against label maps of shares, mean over the voxels.

    Args:
        gamma: of the focal factor; 0 is cross-entropy.
        weights: of each class; None weighs all alike.
        calibrated: add the weights' logarithms to the logits (Menon et al., arXiv 2007.07314). Without it a class of
            weight 4 takes up to four times its share wherever the network is unsure, and its volume grows by that.
    """

    def __init__(self, gamma: float = 0.0, weights: Sequence[float] | None = None, calibrated: bool = False) -> None:
        self.gamma, self.calibrated = float(gamma), bool(calibrated)
        self.weights = None if weights is None else torch.tensor([float(w) for w in weights])
        if self.calibrated and self.weights is not None and float(self.weights.min()) <= 0:
            raise UserError(f"weights = {list(weights or ())}: with calibrated, each must be above 0.")

    def __call__(self, logits: torch.Tensor, maps: torch.Tensor, each: torch.Tensor | None = None) -> torch.Tensor:
        """Logits and maps (B, K, ...) -> scalar; `each` (B,) weighs the samples.

        Raises:
            UserError: another number of weights than of classes.
        """
        weights = for_each_class("weights", self.weights, logits)
        log = F.log_softmax(logits + weights.log() if self.calibrated else logits, 1)
        loss = -maps * log * weights
        if self.gamma:
            loss = loss * (1 - log.exp()).pow(self.gamma)
        found = loss.sum(1).flatten(1).mean(1)
        return (found if each is None else found * each).mean()


def for_each_class(name: str, numbers: torch.Tensor | None, maps: torch.Tensor) -> torch.Tensor:
    """Numbers (K,) for the classes of maps (B, K, ...), (1, K, 1, ...); None is 1 for each.

    Raises:
        UserError: another number of them than of classes.
    """
    numbers = maps.new_ones(maps.shape[1]) if numbers is None else numbers.to(maps)
    if len(numbers) != maps.shape[1]:
        raise UserError(f"{name}: {len(numbers)} for {maps.shape[1]} classes; give one for each.")
    return numbers.reshape(1, -1, *(1 for _ in maps.shape[2:]))


class LabelAutoencoderObjective:
    """Loss of a `LabelAutoencoder` with a small Kullback-Leibler term and robustness to noise in the latent.

    Args:
        loss: of logits against maps; None is cross-entropy.
        kl_weight: of the Kullback-Leibler term, summed over the latent and averaged over the batch.
        noise_weight: of the same loss of what decodes from a latent with noise; 0 leaves it out.
        noise: standard deviation of that noise, in units of each latent's own.
    """

    name = "autoencoder"

    def __init__(
        self,
        loss: LabelLoss | None = None,
        kl_weight: float = 1e-6,
        noise_weight: float = 0.0,
        noise: float = 0.1,
    ) -> None:
        self.loss = loss or LabelLoss()
        self.kl_weight, self.noise_weight, self.noise = kl_weight, noise_weight, noise

    def __call__(self, network: torch.nn.Module, batch: dict) -> dict[str, torch.Tensor]:
        """`batch["labels"]` (B, K, ...) of sum 1 -> "loss", "labels", "kl", "agreement" of the arg-max."""
        maps, autoencoder = batch["labels"], network.autoencoder
        mean, deviation = autoencoder.encode(maps)
        z = mean + deviation * torch.randn_like(deviation)
        logits = autoencoder.logits(z)
        found = {"labels": self.loss(logits, maps)}
        variance = deviation.pow(2)
        found["kl"] = 0.5 * (mean.pow(2) + variance - variance.log() - 1).sum() / len(maps)
        loss = found["labels"] + self.kl_weight * found["kl"]
        if self.noise_weight:
            far = z + self.noise * mean.detach().std() * torch.randn_like(z)
            found["noisy"] = self.loss(autoencoder.logits(far), maps)
            loss = loss + self.noise_weight * found["noisy"]
        inside = maps[:, 0] < 0.5
        found["agreement"] = (logits.argmax(1) == maps.argmax(1))[inside].float().mean()
        return {"loss": loss, **found}


class LabelDiffusionObjective(LatentDiffusionObjective):
    """`LatentDiffusionObjective` with a loss of the label maps that the estimate of the clean latent decodes to.

    Args:
        decoded_weight: of that loss; 0 leaves it out, and the batch then needs no "labels".
        loss: of logits against maps; None is cross-entropy.
        kwargs: see `LatentDiffusionObjective`.
    """

    def __init__(self, decoded_weight: float = 0.0, loss: LabelLoss | None = None, **kwargs: Any) -> None:
        super().__init__(**{"key": "latents", **kwargs})
        self.decoded_weight, self.loss = decoded_weight, loss or LabelLoss()

    def judge(
        self,
        network: torch.nn.Module,
        batch: dict,
        prediction: torch.Tensor,
        noisy: torch.Tensor,
        noise: torch.Tensor,
        t: torch.Tensor,
    ) -> dict[str, torch.Tensor]:
        found = super().judge(network, batch, prediction, noisy, noise, t)
        if not self.decoded_weight:
            return found
        estimate, _ = network.schedule.split(noisy, prediction, t)
        a, _ = network.schedule.at(t, noisy)
        decoded = self.loss(network.logits(estimate), batch["labels"], a.flatten() ** 2)
        return {"loss": found["loss"] + self.decoded_weight * decoded, "latent": found["loss"], "decoded": decoded}
