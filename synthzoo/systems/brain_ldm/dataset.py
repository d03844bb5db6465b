"""The rows of stage two of latent diffusion: latents that are encoded once (Pinaya et al. 2022)."""

from __future__ import annotations

import itertools
from pathlib import Path

import torch
from torch.utils.data import Dataset
from tqdm import tqdm

from synthzoo.datasets.latents import autoencoder_digest
from synthzoo.networks.saving import save_atomically


class LatentDataset(Dataset):
    """The latents of a data set, encoded once: {"latent": (C, d, h, w), "conditions": (K,), "row"}.

    Making it also fits the network's latent mean and scale factor, so it comes before the trainer copies the network.
    Latents of phantoms with a `cache_dir` are kept there: a training that was killed need not encode them again.

    Args:
        network: composite with `autoencoder`, `fit_latents` and `normalise_latent`, its autoencoder trained.
        dataset: rows {"image", "conditions"}.
        batch_size: images encoded at once.
        mirror: each image is two rows, one after the other, the second with its sides, the first axis, exchanged; so
            neither half of what a closed form is fitted to holds the mirror images of the other.
    """

    @torch.no_grad()
    def __init__(self, network: torch.nn.Module, dataset: Dataset, batch_size: int = 8, mirror: bool = False) -> None:
        network.eval()
        self.mirror = bool(mirror)
        device = next(itertools.chain(network.parameters(), network.buffers())).device
        path = self._cache_path(network, dataset)
        if path is not None and path.is_file():
            latents = torch.load(path, weights_only=True)["latents"]
            conditions = [dataset.facts(row)["conditions"] for row in range(len(dataset))]
        else:
            latents, conditions = self._encode(network, dataset, batch_size, device)
            if path is not None:
                save_atomically({"latents": latents}, path)
        self.conditions = torch.stack(conditions).repeat_interleave(1 + self.mirror, 0)
        network.fit_latents(latents.to(device), self.conditions)
        self.latents = network.normalise_latent(latents.to(device)).cpu()

    def _cache_path(self, network: torch.nn.Module, dataset: Dataset) -> Path | None:
        """File of the latents of phantoms, whose rows follow from the first seed; None for other data sets."""
        folder = getattr(dataset, "cache_dir", None)
        if not folder or not hasattr(dataset, "first_seed"):
            return None
        name = f"latents-{autoencoder_digest(network)}-{dataset.first_seed}-{len(dataset)}{'-mirrored' * self.mirror}"
        return Path(folder) / f"{name}.pt"

    def _encode(
        self, network: torch.nn.Module, dataset: Dataset, batch_size: int, device: torch.device
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        latents, conditions = [], []
        for first in tqdm(range(0, len(dataset), batch_size), desc="encode"):
            rows = [dataset[row] for row in range(first, min(first + batch_size, len(dataset)))]
            images = torch.stack([torch.as_tensor(row["image"]) for row in rows]).to(device)
            if self.mirror:
                images = torch.stack([images, images.flip(2)], 1).flatten(0, 1)
            latents.append(network.autoencoder.encode(images)[0].cpu())
            conditions += [row["conditions"] for row in rows]
        return torch.cat(latents), conditions

    def __len__(self) -> int:
        return len(self.latents)

    def __getitem__(self, row: int) -> dict:
        return {"latent": self.latents[row], "conditions": self.conditions[row], "row": row}
