"""Stage two of latent diffusion: predict the noise in the latent (Ho et al. 2020; Pinaya et al. 2022).

loss = mean (denoise(a_t z + s_t e, t, c) - target)^2,   t uniform
"""

from __future__ import annotations

import torch
from torch.utils.data import Dataset
from tqdm import tqdm

from synthzoo.networks.conditions import drop_conditions


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


class LatentDiffusionObjective:
    """Mean squared error of the denoiser's prediction, with conditions left out at random.

    Args:
        drop_each: probability with which each condition is left out by itself.
        drop_all: probability with which all conditions of a sample are left out.
    """

    def __init__(self, drop_each: float = 0.1, drop_all: float = 0.1) -> None:
        self.drop_each, self.drop_all = drop_each, drop_all

    def __call__(self, network: torch.nn.Module, batch: dict) -> dict[str, torch.Tensor]:
        """`batch["latent"]` (B, C, d, h, w) normalised, `batch["conditions"]` (B, K) in user units -> "loss"."""
        z = batch["latent"]
        schedule = network.schedule
        noise = torch.randn_like(z)
        t = torch.randint(0, schedule.num_steps, (z.shape[0],), device=z.device)
        conditions = drop_conditions(batch["conditions"], self.drop_each, self.drop_all)
        prediction = network.denoise(schedule.add_noise(z, noise, t), t, conditions)
        return {"loss": (prediction - schedule.target(z, noise, t)).pow(2).mean()}
