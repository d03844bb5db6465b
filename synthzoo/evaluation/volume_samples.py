"""Cache of an evaluation's volumes in files, so that an interrupted evaluation goes on where it stopped."""

from __future__ import annotations

import hashlib
import io
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from synthzoo.evaluation.base import described
from synthzoo.io.files import write_bytes


def fingerprint(network: torch.nn.Module) -> str:
    """SHA-256 of a network's tensors."""
    digest = hashlib.sha256()
    for name, value in network.state_dict().items():
        digest.update(name.encode() + value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


class Samples:
    """Volumes that a generator makes, one file a batch, under a name that tells weights, sampler and requests apart.

    Args:
        network: composite network with `latent_shape`.
        folder: where the files go.
        batch_size: volumes at once.
        seed: row k of any set starts from the noise of (seed, k).
    """

    def __init__(self, network: Any, folder: str | Path, batch_size: int = 8, seed: int = 0) -> None:
        self.network, self.folder = network.eval(), Path(folder)
        self.batch_size, self.seed = int(batch_size), int(seed)
        self.device = next(network.parameters()).device
        self.weights = fingerprint(network)

    def noise(self, rows: range) -> torch.Tensor:
        """Start noise (N, C, d, h, w) of these rows."""
        seeds = [int(np.random.SeedSequence([self.seed, row]).generate_state(1)[0]) for row in rows]
        shape = tuple(self.network.latent_shape)
        return torch.stack([torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds])

    def make(self, requested: np.ndarray, inferer: Any, what: str = "generate") -> tuple[np.ndarray, float]:
        """Volumes float32 (N, D, H, W) for conditions (N, K), NaN = left out, and seconds per volume."""
        setting: list[Any] = [self.weights, described(inferer)]
        setting += [self.seed, self.batch_size, np.nan_to_num(requested, nan=-1).round(4).tolist()]
        folder = self.folder / hashlib.sha256(json.dumps(setting).encode()).hexdigest()[:16]
        volumes, seconds = [], 0.0
        for first in tqdm(range(0, len(requested), self.batch_size), desc=what, mininterval=2.0):
            rows = range(first, min(first + self.batch_size, len(requested)))
            path = folder / f"{first:05d}.npz"
            if not path.is_file():
                self.make_batch(requested[rows.start : rows.stop], rows, inferer, path)
            with np.load(path) as kept:
                volumes.append(kept["volumes"].astype(np.float32))
                seconds += float(kept["seconds"])
        return np.concatenate(volumes), seconds / len(requested)

    def make_batch(self, requested: np.ndarray, rows: range, inferer: Any, path: Path) -> None:
        """Generate one batch and keep it in half precision."""
        values = torch.tensor(requested, dtype=torch.float32, device=self.device)
        noise = self.noise(rows).to(self.device)
        began = time.perf_counter()
        images = inferer(noise, self.network, conditions=values)[:, 0].cpu().numpy()
        seconds = time.perf_counter() - began
        buffer = io.BytesIO()
        np.savez_compressed(buffer, volumes=images.astype(np.float16), seconds=seconds)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, buffer.getvalue())

    @torch.inference_mode()
    def through_autoencoder(self, volumes: np.ndarray) -> np.ndarray:
        """Volumes (N, D, H, W) encoded and decoded again, in [0, 1]."""
        parts = torch.from_numpy(volumes)[:, None].split(self.batch_size)
        restored = [self.network.decode(self.network.encode(part.to(self.device))).cpu() for part in parts]
        return torch.cat(restored)[:, 0].clamp(0, 1).numpy()
