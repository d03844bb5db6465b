"""Brain phantoms beside what is known of them: a second contrast and the tissues, for supervised training."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from synthzoo.datasets.brain.phantoms import BrainPhantomDataset
from synthzoo.phantoms.brain.phantom import make_anatomy, render

TISSUES = ("GM", "WM", "CSF", "ventricle")


class BrainTruths(BrainPhantomDataset):
    """Rows of `BrainPhantomDataset` with "target" and "tissues" of the same subject.

    "target" is float32 (1, D, H, W), the subject in a second contrast; "tissues" is float32 (4, D, H, W), how much of
    each voxel is grey matter, white matter, sulcal fluid and ventricle. Truths are kept in memory.

    Args:
        size: number of subjects.
        target: contrast of the second image, one of `synthzoo.phantoms.brain.phantom.CONTRASTS`.
        settings: further arguments of `BrainPhantomDataset`.
    """

    def __init__(self, size: int, target: str = "T2w", **settings: Any) -> None:
        super().__init__(size, **settings)
        self.target = target
        self.truths: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def truth(self, row: int) -> tuple[np.ndarray, np.ndarray]:
        """Second contrast (D, H, W) and tissues (4, D, H, W) of a row, float16."""
        if row not in self.truths:
            params = self.params(row)
            anatomy = make_anatomy(params, self.spacing_mm)
            image = render(anatomy, self.target, seed=params.seed, **self.rendering)
            self.truths[row] = image.astype(np.float16), anatomy.tissues.astype(np.float16)
        return self.truths[row]

    def __getitem__(self, row: int) -> dict[str, Any]:
        sample = super().__getitem__(row)
        target, tissues = (torch.from_numpy(part.astype(np.float32)) for part in self.truth(row))
        return {**sample, "target": target[None], "tissues": tissues}
