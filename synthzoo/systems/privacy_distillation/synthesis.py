"""Synthetic sets: samples under the conditions of a training set, made in parts that a kill does not lose.

Sample i has the conditions of training row i mod N and start noise of its own seed, so that every training row is asked
for equally often and a set is the same in whatever parts it is made.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch.utils.data import Dataset
from tqdm import tqdm

from synthzoo.errors import UserError
from synthzoo.inferers.synthesis import SynthesisInferer
from synthzoo.networks.saving import save_atomically
from synthzoo.networks.weights import read_state
from synthzoo.systems.privacy_distillation.network import LabelDiffusion

PART = 64  # samples of a file; a kill loses at most as many


def make_set(
    network: LabelDiffusion,
    inferer: SynthesisInferer,
    conditions: torch.Tensor,
    count: int,
    folder: str | Path,
    seed: int = 0,
) -> dict[str, torch.Tensor]:
    """The set in a folder, completed where parts are missing.

    Args:
        network: that samples.
        inferer: with its sampler and steps.
        conditions: of the training rows, float32 (N, K).
        count: samples.
        folder: of the parts `part-0000.pt`; another network or setting takes another folder.
        seed: of the first sample, the next ones follow.

    Returns:
        {"latents": float16 (count, C, h, w), "images": uint8 (count, S, S), "conditions": float32 (count, K), "seeds":
        int64 (count,)}.
    """
    network.eval()
    device = next(network.parameters()).device
    parts = []
    for first in tqdm(range(0, count, PART), desc="samples", mininterval=5.0):
        path = Path(folder) / f"part-{first // PART:04d}.pt"
        if not path.is_file():
            numbers = torch.arange(first, min(first + PART, count))
            noise = torch.stack([_noise(network.latent_shape, seed + int(number)) for number in numbers])
            rows = conditions[numbers % len(conditions)]
            with torch.no_grad():
                latents = inferer.latents(noise.to(device), network, rows.to(device))
                images = network.decode(latents, 16).float().clamp(0, 1)[:, 0]
            made = {"latents": latents.half().cpu(), "images": (255 * images).round().byte().cpu()}
            save_atomically({**made, "conditions": rows, "seeds": seed + numbers}, path)
        parts.append(torch.load(path, weights_only=True))
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def _noise(shape: tuple[int, ...], seed: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def chosen(found: dict[str, torch.Tensor], rows: torch.Tensor) -> dict[str, torch.Tensor]:
    """The samples of a set at `rows`, int64 (n,)."""
    return {name: value[rows] for name, value in found.items()}


class SyntheticLatents(Dataset):
    """Rows {"latents": float32 (C, h, w), "conditions": float32 (K,)} of a synthetic set.

    Args:
        path: file with "latents" and "conditions", such as `kept.pt` of `configs/distill.json`.

    Raises:
        UserError: the file is not there or holds no such set.
    """

    def __init__(self, path: str | Path) -> None:
        if not Path(path).is_file():
            raise UserError(
                f"synthetic_path {path} does not exist: run configs/distill.json, whose filter writes it, or give the "
                "file of a synthetic set with latents and conditions."
            )
        found = read_state(path)
        if not {"latents", "conditions"} <= set(found) or len(found["latents"]) != len(found["conditions"]):
            raise UserError(f"synthetic_path {path} holds no set of latents and conditions: give kept.pt of a filter.")
        self.latents, self.conditions = found["latents"].float(), found["conditions"].float()

    def __len__(self) -> int:
        return len(self.latents)

    def __getitem__(self, row: int) -> dict[str, torch.Tensor]:
        if not 0 <= row < len(self):
            raise IndexError(row)
        return {"latents": self.latents[row], "conditions": self.conditions[row]}
