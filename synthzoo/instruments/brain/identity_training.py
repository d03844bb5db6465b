"""Training and stated errors of the instrument that tells brains apart: two scans each of phantoms of its own seeds."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F
from torch.utils.data import Dataset
from tqdm import tqdm

from synthzoo.instruments.brain.identity import NAME, brain_features, identity_report, to_box
from synthzoo.instruments.brain.phantoms import SPACING_MM, degrade, paint
from synthzoo.instruments.brain.segmentation import load_instrument
from synthzoo.instruments.identities import PairLoss, equal_error_threshold, identity_errors
from synthzoo.io.files import write_json
from synthzoo.phantoms.brain.phantom import BrainAnatomy, draw_params, make_anatomy

# First seed and number of subjects; no bundle and no other instrument has them.
SUBJECTS = {"train": (95_000, 900), "validation": (195_000, 150), "test": (295_000, 200)}
CONTRASTS = ("T1w", "T1w", "T2w", "FLAIR", "PD", "random")
TURN, SCALE, SHIFT = math.radians(4), 0.04, 0.03  # largest; shift in shares of the box
DEGRADED = 0.4  # share of the scans that are spoiled as a generator may


class SubjectPairs(Dataset):
    """Rows {"image": float32 (2, 40, 48, 40)}: two scans of one subject, painted when they are read.

    Args:
        split: "train", "validation" or "test".
        size: how many subjects; None takes all.
        contrasts: of the scans, each drawn evenly.
    """

    def __init__(self, split: str = "train", size: int | None = None, contrasts: tuple[str, ...] = CONTRASTS) -> None:
        first, count = SUBJECTS[split]
        self.first, self.contrasts, self.maps, self.params = first, contrasts, [], []
        for seed in tqdm(range(first, first + (size or count)), desc="subjects", mininterval=2.0):
            self.params.append(draw_params(seed, independent=seed % 2 == 0))
            anatomy = make_anatomy(self.params[-1], SPACING_MM)
            self.maps.append(np.round(anatomy.tissues * 255).astype(np.uint8))
        self.affine, self.wall_mm = anatomy.affine, anatomy.wall_mm

    def __len__(self) -> int:
        return len(self.maps)

    def __getitem__(self, row: int) -> dict[str, torch.Tensor]:
        rng = np.random.default_rng(np.random.randint(2**31))  # the loader has seeded numpy for this draw
        tissues = self.maps[row].astype(np.float32) / 255
        if rng.random() < 0.5:  # the mirror image is another subject, to both scans alike
            tissues = tissues[:, ::-1]
        return {"image": torch.from_numpy(np.stack([self.scan(row, tissues, rng) for _ in range(2)]))}

    def scan(self, row: int, tissues: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """One scan, float32 (40, 48, 40), of a subject's tissue maps."""
        anatomy = BrainAnatomy(tissues, None, {}, {}, self.affine, self.params[row], SPACING_MM, self.wall_mm)
        image = paint(anatomy, self.contrasts[rng.integers(len(self.contrasts))], rng)
        return to_box(degrade(image, rng) if rng.random() < DEGRADED else image)

    def pairs(self) -> np.ndarray:
        """Both scans of every subject, each from a seed of its own: float32 (N, 2, 40, 48, 40)."""
        found = []
        for row, maps in enumerate(self.maps):
            rng = np.random.default_rng([self.first + row, 31])
            found.append(np.stack([self.scan(row, maps.astype(np.float32) / 255, rng) for _ in range(2)]))
        return np.stack(found)


def move(heads: torch.Tensor) -> torch.Tensor:
    """Heads (B, 1, D, H, W) turned about one axis, scaled and shifted, each in its own way."""
    count = len(heads)
    turn, scale, *shift = (2 * torch.rand(5, count, device=heads.device) - 1).unbind()
    cosine, sine = torch.cos(turn * TURN), torch.sin(turn * TURN)
    turned = torch.eye(3, device=heads.device).repeat(count, 1, 1)
    one, other = torch.randperm(3)[:2].tolist()
    turned[:, one, one], turned[:, other, other] = cosine, cosine
    turned[:, one, other], turned[:, other, one] = -sine, sine
    matrix = torch.cat([turned * (1 + SCALE * scale)[:, None, None], 2 * SHIFT * torch.stack(shift, 1)[:, :, None]], 2)
    grid = F.affine_grid(matrix, list(heads.shape), align_corners=False)
    return F.grid_sample(heads, grid, padding_mode="border", align_corners=False)


def identity_loss() -> PairLoss:
    """Contrastive loss of pairs of scans that are moved."""
    return PairLoss(move)


def make_report(folder: Path, size: int | None = None) -> dict:
    """The threshold from validation subjects and the errors of test subjects; written to `brain_identity.json`.

    Args:
        folder: of the report; the network is the shipped one.
        size: subjects of each split; None takes all.
    """
    load_instrument.cache_clear()
    features, subjects = _scans("validation", size, CONTRASTS)[1:]
    threshold = equal_error_threshold(features, subjects)
    report = {
        "command": "python scripts/train_instruments.py identity",
        "subjects": {split: {"first_seed": first, "count": size or n} for split, (first, n) in SUBJECTS.items()},
        "threshold": threshold,
    }
    for name, contrasts in (("any contrasts", CONTRASTS), ("T1w", ("T1w",))):
        images, features, subjects = _scans("test", size, contrasts)
        report[name] = identity_errors(images, subjects, features, threshold)
    write_json(folder / f"{NAME}.json", report)
    identity_report.cache_clear()
    return report


def _scans(split: str, size: int | None, contrasts: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Heads (2 N, 40, 48, 40) of a split, their features, and whose they are."""
    pairs = SubjectPairs(split, size, contrasts).pairs()
    heads = pairs.reshape(-1, *pairs.shape[2:])
    return heads, brain_features(heads), np.repeat(np.arange(len(pairs)), 2)
