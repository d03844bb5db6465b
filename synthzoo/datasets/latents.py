"""Images as latents, encoded once and stored beside them: for losses in the latent space of an autoencoder."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset
from tqdm import tqdm

from synthzoo.networks.latent_images import LatentImages
from synthzoo.networks.saving import save_atomically

DIGITS = 12


class LatentRadiographs(Dataset):
    """The rows of a data set of radiographs with "latents" float32 (C, h, w), normalised, in place of "image".

    The first time it also measures the network's latent mean and scale, so it comes before a trainer copies the
    network. Latents are the posterior's mean. Label maps and volumes, (C, d, h, w), are encoded alike.

    Args:
        network: its autoencoder trained.
        radiographs: rows with "image" (1, S, S) in [0, 1], such as `ChestPhantomDataset` with fixed exposures, whose
            latents are kept in the folder of its pool, or `ChestRadiographs`; with `truth(row)`, all but the image.
        batch_size: radiographs encoded at once.
        key: of the images.
    """

    def __init__(self, network: LatentImages, radiographs: Dataset, batch_size: int = 16, key: str = "image") -> None:
        network.eval()
        device = next(network.parameters()).device
        folder, self.radiographs, self.key = getattr(radiographs, "cache_dir", None), radiographs, key
        path = Path(folder) / f"latents-{autoencoder_digest(network)}.pt" if folder else None
        self.rows: list[dict] | None = None if hasattr(radiographs, "truth") else []
        if path is not None and path.is_file() and self.rows is None:
            latents = torch.load(path, weights_only=True)["latents"]
        else:
            latents = self._encode(network, batch_size, device)
            if path is not None:
                save_atomically({"latents": latents}, path)
        if not bool(network.fitted):
            others = (0, *range(2, latents.ndim))
            centred = network.latent_mean.shape == latents.shape[1:]
            means = latents.mean(0 if centred else others)
            variances = (latents - means.reshape(network.latent_mean.shape)).pow(2).mean(others)
            network.fit_latents(means.to(device), variances.to(device))
            self.latents = self._normalised(latents, network)
            network.fit_prior(self)
        self.latents = self._normalised(latents, network)

    @staticmethod
    def _normalised(latents: torch.Tensor, network: LatentImages) -> torch.Tensor:
        return (latents - network.latent_mean.cpu()) * network.scale_factor.cpu()

    @torch.no_grad()
    def _encode(self, network: LatentImages, batch_size: int, device: torch.device) -> torch.Tensor:
        found, count = [], len(self.radiographs)
        for first in tqdm(range(0, count, batch_size), desc="encode", mininterval=5.0):
            rows = [self.radiographs[row] for row in range(first, min(first + batch_size, count))]
            images = torch.stack([row[self.key] for row in rows]).to(device)
            found.append(network.autoencoder.encode(images)[0].float().cpu())
            if self.rows is not None:
                self.rows += [{name: value for name, value in row.items() if name != self.key} for row in rows]
        return torch.cat(found)

    def __len__(self) -> int:
        return len(self.latents)

    def __getitem__(self, row: int) -> dict[str, Any]:
        if not 0 <= row < len(self):
            raise IndexError(row)
        facts = self.radiographs.truth(row) if self.rows is None else self.rows[row]
        return {"latents": self.latents[row], **facts}


def autoencoder_digest(network: Any) -> str:
    """Name for the weights of `network.autoencoder`, hexadecimal: what its latents are stored under."""
    digest = hashlib.sha256()
    for name, value in network.autoencoder.state_dict().items():
        digest.update(name.encode())
        digest.update(value.detach().cpu().float().numpy().tobytes())
    return digest.hexdigest()[:DIGITS]
