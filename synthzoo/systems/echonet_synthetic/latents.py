"""Clips of videos as latents, encoded once and kept in memory: for losses in the latent space of a `LatentVideo`.

Latents of `Latents/<name>.pt` that EchoNet-Synthetic's own code wrote are samples on three channels at the published
scale; here the posterior's mean is taken, so that a video has one latent.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset
from tqdm import tqdm

from synthzoo.datasets.echo.clip_frames import ClipFrames
from synthzoo.datasets.echo.training_clips import training_clips
from synthzoo.datasets.latents import autoencoder_digest
from synthzoo.networks.saving import save_atomically
from synthzoo.systems.hidden_subspaces.pairs import PatientPairs

PERCENT = 100.0


class LatentClips(Dataset):
    """Rows {"latents": (C, T, h, w) normalised, "conditions": EF in percent (1,), "patient": int}.

    The first time it also measures the network's latent mean and scale, so it comes before a trainer copies the
    network. It is what `PatientPairs` takes, too.

    Attributes:
        patients: whose each video is, int64 (N,).

    Args:
        network: a `LatentVideo`, its autoencoder trained.
        clips: rows with "video" (1, T, H, W) in [0, 1], "ef" as a fraction and "patient". Where they have a
            `cache_dir`, their latents are kept there, too, for the stages that follow.
        batch_size: videos encoded at once.
    """

    def __init__(self, network: torch.nn.Module, clips: Dataset, batch_size: int = 16) -> None:
        network.eval()
        device = next(network.parameters()).device
        path = cached_at(network, clips)
        if path is not None and path.is_file():
            kept = torch.load(path, weights_only=True)
        else:
            kept = encode_all(network, clips, batch_size, device)
            if path is not None:
                save_atomically(kept, path)
        latents = kept["latents"]
        if not bool(network.fitted):
            means = latents.mean((0, 2, 3, 4))
            variances = (latents - means[:, None, None, None]).pow(2).mean((0, 2, 3, 4))
            network.fit_latents(means.to(device), variances.to(device))
        mean, scale = network.latent_mean.cpu()[:, None], network.scale_factor.cpu()
        self.latents = (latents - mean) * scale
        self.conditions = PERCENT * kept["ef"][:, None]
        self.patients = kept["patient"].numpy()

    def __len__(self) -> int:
        return len(self.latents)

    def __getitem__(self, row: int) -> dict:
        return {
            "latents": self.latents[row],
            "conditions": self.conditions[row],
            "patient": int(self.patients[row]),
        }

    def frames(self, row: int, which: Callable[[int], np.ndarray] | None = None) -> torch.Tensor:
        """Latents of chosen frames of a video, float32 (n, C, h, w); None takes all."""
        video = self.latents[row].transpose(0, 1)
        return video if which is None else video[torch.as_tensor(np.asarray(which(len(video))))]


class LatentStills(Dataset):
    """Rows {"latents": (C, 1, h, w), "conditions": (0,)}: a frame of each video, drawn again each time.

    Args:
        clips: see `LatentClips`.
    """

    def __init__(self, clips: LatentClips) -> None:
        self.clips = clips

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, row: int) -> dict:
        video = self.clips.latents[row]
        frame = int(torch.randint(video.shape[1], ()))
        return {"latents": video[:, frame : frame + 1], "conditions": torch.zeros(0)}


def latent_clips(network: torch.nn.Module, batch_size: int = 16, **clips: Any) -> LatentClips:
    """`LatentClips` of the clips that `training_clips` reads, as long and as fast as the network's.

    Args:
        network, batch_size: see `LatentClips`.
        clips: arguments of `training_clips` besides "like", such as "data_format", "patients" and "size".
    """
    return LatentClips(network, training_clips(like=network, **clips), batch_size)


def latent_stills(network: torch.nn.Module, batch_size: int = 16, **clips: Any) -> LatentStills:
    """`LatentStills` of `latent_clips` with the same arguments."""
    return LatentStills(latent_clips(network, batch_size, **clips))


def latent_pairs(network: torch.nn.Module, noise: float = 0.0, batch_size: int = 16, **clips: Any) -> PatientPairs:
    """Pairs of latent frames of one or of two patients, from `latent_clips` with the same arguments.

    Args:
        noise: standard deviation of what is added to each latent, see `PatientPairs`.
    """
    videos = latent_clips(network, batch_size, **clips)
    return PatientPairs(videos, mode="both", positives=1.0, noise=noise)


def frames_of_clips(network: torch.nn.Module, **clips: Any) -> ClipFrames:
    """Single frames of the clips that `latent_clips` would encode, for the stage that trains the autoencoder."""
    return ClipFrames(training_clips(like=network, **clips))


def cached_at(network: torch.nn.Module, clips: Dataset) -> Path | None:
    """Cache folder of the latents of clips: beside the videos, named by the weights that encoded them."""
    folder = getattr(clips, "cache_dir", None)
    if folder is None:
        return None
    return Path(folder) / f"latents-{autoencoder_digest(network)}.pt"


@torch.no_grad()
def encode_all(
    network: torch.nn.Module, clips: Dataset, batch_size: int, device: str | torch.device
) -> dict[str, torch.Tensor]:
    """{"latents": (N, C, T, h, w) as the autoencoder gives them, "ef": fractions (N,), "patient": int64 (N,)}."""
    latents, efs, owners = [], [], []
    for first in tqdm(range(0, len(clips), batch_size), desc="encode", mininterval=5.0):
        rows = [clips[row] for row in range(first, min(first + batch_size, len(clips)))]
        videos = torch.stack([row["video"] for row in rows]).to(device)
        flat = network.autoencoder.encode(videos.transpose(1, 2).flatten(0, 1))[0]
        latents.append(flat.unflatten(0, (len(videos), -1)).transpose(1, 2).cpu())
        efs += [float(row["ef"]) for row in rows]
        owners += [int(row["patient"]) for row in rows]
    return {"latents": torch.cat(latents), "ef": torch.tensor(efs), "patient": torch.tensor(owners)}
