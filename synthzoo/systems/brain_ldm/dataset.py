"""The rows of stage two of latent diffusion: latents that are encoded once (Pinaya et al. 2022)."""

from __future__ import annotations

import torch
from torch.utils.data import Dataset
from tqdm import tqdm


class LatentDataset(Dataset):
    """The latents of a data set, encoded once: {"latent": (C, d, h, w), "conditions": (K,), "row"}.

    Making it also fits the network's latent mean and scale factor, so it comes before the trainer copies the network.

    Args:
        network: composite with `autoencoder`, `fit_latents` and `normalise_latent`, its autoencoder trained.
        dataset: rows {"image", "conditions"}.
        batch_size: images encoded at once.
    """

    @torch.no_grad()
    def __init__(self, network: torch.nn.Module, dataset: Dataset, batch_size: int = 8) -> None:
        network.eval()
        device = next(network.parameters()).device
        latents, conditions = [], []
        for first in tqdm(range(0, len(dataset), batch_size), desc="encode"):
            rows = [dataset[row] for row in range(first, min(first + batch_size, len(dataset)))]
            images = torch.stack([torch.as_tensor(row["image"]) for row in rows]).to(device)
            latents.append(network.autoencoder.encode(images)[0].cpu())
            conditions += [row["conditions"] for row in rows]
        latents = torch.cat(latents)
        self.conditions = torch.stack(conditions)
        network.fit_latents(latents.to(device), self.conditions)
        self.latents = network.normalise_latent(latents.to(device)).cpu()

    def __len__(self) -> int:
        return len(self.latents)

    def __getitem__(self, row: int) -> dict:
        return {"latent": self.latents[row], "conditions": self.conditions[row], "row": row}
