"""The ICBM152 template laid over a brain: its outline, its tissues, and how far an image agrees with them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from scipy import ndimage as ndi
from scipy.spatial.transform import Rotation
from torch.nn import functional as F

COARSE_MM = 4.0  # voxel of the template and of the probabilities it is fitted to
SHAPE = (56, 64, 56)  # of the template's maps


@lru_cache(maxsize=1)
def template_maps() -> tuple[torch.Tensor, torch.Tensor]:
    """Signed distance in mm to the outline of the ICBM152 brain, outside > 0, and its tissues, at 4 mm, centred.

    Returns:
        distance float32 (1, 1, 56, 64, 56); shares of white matter and CSF float32 (1, 2, 56, 64, 56).
    """
    import nilearn.datasets

    folder = Path(nilearn.datasets.__file__).parent / "data"
    names = [f"mni_icbm152_{name}_tal_nlin_sym_09a_converted.nii.gz" for name in ("t1", "gm", "wm")]
    t1w, grey, white = (_pooled(np.asarray(nib.load(folder / name).dataobj, np.float32)) for name in names)
    brain = ndi.binary_fill_holes(t1w[0] > 0.1 * t1w[1])
    box = tuple(slice(int(i.min()), int(i.max()) + 1) for i in np.nonzero(brain))
    brain, grey, white = brain[box], grey[0][box] / grey[0].max(), white[0][box] / white[0].max()
    room = [(r // 2, r - r // 2) for r in (grid - n for grid, n in zip(SHAPE, brain.shape))]
    brain = np.pad(brain, room)
    distance = ndi.distance_transform_edt(~brain) - ndi.distance_transform_edt(brain)
    tissues = np.stack([np.pad(part, room) for part in (white, np.clip(1 - grey - white, 0, 1))])
    return (
        torch.from_numpy((distance * COARSE_MM).astype(np.float32))[None, None],
        torch.from_numpy(tissues.astype(np.float32))[None],
    )


def _pooled(volume: np.ndarray) -> tuple[np.ndarray, float]:
    """A volume at 1 mm brought to 4 mm, and its maximum before."""
    d, h, w = (n // 4 for n in volume.shape)
    return volume[: 4 * d, : 4 * h, : 4 * w].reshape(d, 4, h, 4, w, 4).mean((1, 3, 5)), float(volume.max())


class FittedTemplate:
    """The template under the motion and scales that fit a brain probability best.

    Nine numbers (shift, rotation vector, logarithms of three scales) minimise 1 - soft Dice at 8 mm, with a mild pull
    towards no rotation and equal scales.

    Args:
        share: brain probability (D, H, W) at 4 mm, above 0.5 somewhere.
        steps: of Adam.
    """

    def __init__(self, share: np.ndarray, steps: int = 60) -> None:
        target = F.avg_pool3d(torch.from_numpy(share)[None, None], 2)
        found = np.argwhere(share > 0.5)
        centre = torch.from_numpy(found.min(0) + found.max(0) + 1) - torch.tensor(share.shape)
        self.centre, self.shape = centre.float() * COARSE_MM / 2, share.shape
        numbers = torch.zeros(9, requires_grad=True)
        optimiser = torch.optim.Adam([numbers], lr=0.03)
        with torch.enable_grad():
            for _ in range(steps):
                _, turn, scale = numbers.split(3)
                distance = self._moved(template_maps()[0], numbers, target.shape[2:], 2 * COARSE_MM, "border")
                inside = torch.sigmoid(-distance / COARSE_MM)
                dice = 2 * (inside * target).sum() / (inside.sum() + target.sum())
                pull = 0.08 * (turn**2).sum() + 0.05 * ((scale - scale.mean()) ** 2).sum()
                optimiser.zero_grad()
                (1 - dice + pull).backward()
                optimiser.step()
        self.numbers = numbers.detach()

    def distance(self) -> np.ndarray:
        """Distance in mm to the fitted outline, float32 (D, H, W); outside > 0."""
        return self._moved(template_maps()[0], self.numbers, self.shape, COARSE_MM, "border")[0, 0].numpy()

    def tissues(self) -> np.ndarray:
        """Shares of white matter and CSF under the fit, float32 (2, D, H, W)."""
        return self._moved(template_maps()[1], self.numbers, self.shape, COARSE_MM, "zeros")[0].numpy()

    def motion(self) -> np.ndarray:
        """Where the template lies, without its scales: its mm to the brain's, both from their grid's middle, (4, 4)."""
        shift, turn, _ = self.numbers.split(3)
        rigid = np.eye(4)
        rigid[:3, :3] = Rotation.from_rotvec(turn.numpy()).as_matrix().T
        rigid[:3, 3] = (self.centre + 50 * shift).numpy()
        return rigid

    def _moved(
        self, volume: torch.Tensor, numbers: torch.Tensor, shape: Sequence[int], spacing_mm: float, padding: str
    ) -> torch.Tensor:
        """A map of the template (1, C, *shape) under shift (units of 50 mm), rotation vector and log scales."""
        shift, (a, b, c), scale = numbers.split(3)
        zero = torch.zeros(())
        skew = torch.stack([zero, -c, b, c, zero, -a, -b, a, zero]).view(3, 3)
        matrix = torch.diag(torch.exp(-scale)) @ torch.linalg.matrix_exp(skew)
        axes = [(torch.arange(n) + 0.5 - n / 2) * spacing_mm for n in shape]
        points = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1) - self.centre - 50 * shift
        half = torch.tensor(volume.shape[2:]) * COARSE_MM / 2
        where = ((points @ matrix.T) / half).flip(-1)[None]
        return F.grid_sample(volume, where, align_corners=False, padding_mode=padding)


def tissue_agreement(head: np.ndarray, mask: np.ndarray, sides: bool = False) -> float:
    """How much of an image's variance within a brain mask the template's tissues explain, partial R2 in [0, 1].

    A field of second order is taken out first, as coils leave one.

    In any MR contrast white matter and CSF stand apart from grey matter; what is no brain follows neither.

    Args:
        head: image (D, H, W) on the head grid of 2 mm, even shape.
        mask: brain, bool (D, H, W).
        sides: True looks at each side alone and gives the larger of the two: a large lesion hides the tissues of one.
    """
    share = F.avg_pool3d(torch.from_numpy(mask.astype(np.float32))[None, None], 2)[0, 0].numpy()
    inside = share > 0.95
    if inside.sum() < 100:
        return 0.0
    values = F.avg_pool3d(torch.from_numpy(head.astype(np.float32))[None, None], 2)[0, 0].numpy()[inside]
    tissues, where = FittedTemplate(share).tissues()[:, inside].T, np.argwhere(inside)
    x, y, z = (where / np.array(share.shape) - 0.5).T
    bias = np.stack([np.ones(x.size), x, y, z, x * x, y * y, z * z, x * y, y * z, z * x], 1)
    left = where[:, 0] < (where[:, 0].min() + where[:, 0].max()) / 2
    parts = (left, ~left) if sides else (np.ones(left.shape, bool),)
    return max(_explained(values[part], bias[part], tissues[part]) for part in parts)


def _explained(values: np.ndarray, bias: np.ndarray, tissues: np.ndarray) -> float:
    """Share of what a field (N, K) leaves of the variance of values (N,) that tissues (N, 2) explain."""
    values = np.clip(values, *np.percentile(values, (2, 98))).astype(np.float64)
    without, within = _rest(values, bias), _rest(values, np.concatenate([bias, tissues], 1))
    return 0.0 if without == 0 else float(np.clip(1 - within / without, 0, 1))


def _rest(values: np.ndarray, columns: np.ndarray) -> float:
    """Sum of squares that a linear fit of the columns (N, K) leaves of values (N,)."""
    return float(((values - columns @ np.linalg.lstsq(columns, values, rcond=None)[0]) ** 2).sum())
