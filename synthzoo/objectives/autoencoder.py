"""Stage one of latent diffusion: reconstruct the image through a narrow latent.

    loss = mean |x - decode(z)| + kl_weight KL(N(m, s) || N(0, 1)) / batch      (Rombach et al., CVPR 2022)
"""

from __future__ import annotations

import torch


class AutoencoderObjective:
    """L1 reconstruction with a small Kullback-Leibler term (sum over the latent, mean over the batch).

    Args:
        kl_weight: of the Kullback-Leibler term.
        edge_weight: of the L1 distance between neighbouring differences, which keeps walls sharp; 0 leaves it out.
    """

    def __init__(self, kl_weight: float = 1e-7, edge_weight: float = 0.5):
        self.kl_weight, self.edge_weight = kl_weight, edge_weight

    def __call__(self, network, batch: dict) -> dict[str, torch.Tensor]:
        """`batch["image"]` (B, 1, D, H, W) in [0, 1] -> "loss", "l1", "kl"."""
        image = batch["image"]
        mean, deviation = network.autoencoder.encode(image)
        restored = network.autoencoder.decode(mean + deviation * torch.randn_like(deviation))
        l1 = (restored - image).abs().mean()
        variance = deviation.pow(2)
        kl = 0.5 * (mean.pow(2) + variance - variance.log() - 1).sum() / image.shape[0]
        loss = l1 + self.kl_weight * kl
        if self.edge_weight:
            steps = [(restored.diff(dim=axis) - image.diff(dim=axis)).abs().mean() for axis in (2, 3, 4)]
            loss = loss + self.edge_weight * sum(steps) / 3
        return {"loss": loss, "l1": l1, "kl": kl}

    def images(self, network, batch: dict, inferer=None) -> dict[str, torch.Tensor]:
        """Middle slice of the first image beside its reconstruction, (1, H, 2 W)."""
        image = batch["image"][:1]
        restored = network.autoencoder.decode(network.autoencoder.encode(image)[0])
        middle = image.shape[-1] // 2
        return {"reconstruction": torch.cat([image[0, ..., middle], restored[0, ..., middle]], -1)}
