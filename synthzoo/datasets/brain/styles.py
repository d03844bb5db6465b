"""Style slices for a painter of label maps: of a scan of one's own, skull-stripped, or of a phantom of a contrast."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from scipy import ndimage as ndi

from synthzoo.cases.images import expect_modality
from synthzoo.datasets.participants import to_grid
from synthzoo.errors import UserError
from synthzoo.io.volumes import read_volume
from synthzoo.phantoms.brain.label_pool import as_picture, subject_slices
from synthzoo.phantoms.brain.painting import CONTRASTS, PEAK, draw_scan, paint_maps
from synthzoo.phantoms.brain.pool import GRID, SPACING_MM

STYLE_SEED = 390_000  # of the phantoms whose slices stand for a contrast: of no split
MIDDLE = 0.6  # height of the slice of a scan
RANDOM = "random"  # contrast without a name of its own
SUFFIXES = tuple(f"{name}.nii.gz" for name in (*CONTRASTS, "MR") if name != RANDOM)  # of painted volumes
FILLED = (0.05, 0.75)  # least and most share of a slice that a brain without a skull fills
BRIGHT = 98.0  # percentile of the brain's levels that becomes `PEAK`


def read_style(style: str | Path, seed: int = 0) -> torch.Tensor:
    """The style slice float32 (1, h, w) in [0, 1], brightest healthy tissue about `PEAK`, that a user means.

    Args:
        style: a name of `CONTRASTS`, which is a phantom's slice; or the path of a skull-stripped MR volume, whose
            axial slice at 60 % of its height is taken.
        seed: of the phantom.

    Raises:
        UserError: neither a contrast nor a file; a file that cannot be read, is not MR, or shows no brain alone.
    """
    if str(style) in CONTRASTS:
        rng = np.random.default_rng([STYLE_SEED, seed])
        maps, _, age = list(subject_slices(STYLE_SEED + seed, 3))[1]
        image = paint_maps(maps, draw_scan(str(style), rng, age), rng)
        return torch.from_numpy(image.clip(0, 1))[None]
    if not str(style).strip() or not Path(style).expanduser().exists():
        raise UserError(f"style is '{style}': give {', '.join(CONTRASTS)}, or the path of a skull-stripped MR scan.")
    expect_modality(style, "MR")
    array, affine = read_volume(Path(style).expanduser())
    scan = nib.as_closest_canonical(nib.Nifti1Image(array[0], affine))
    plane = style_plane(np.asarray(scan.dataobj, np.float32), scan.affine, style)
    return torch.from_numpy(plane)[None]


def listed(styles: str | Path | Sequence[str | Path]) -> list[str]:
    """Styles as texts: of a list, of one that stands alone, or none where the text is empty."""
    every: Sequence[str | Path] = [styles] if isinstance(styles, (str, Path)) else styles
    return [str(style) for style in every if str(style)]


def style_outputs(style: str | Path, more: str | Path | Sequence[str | Path] = (), label: str = "dseg.nii.gz") -> dict:
    """Key -> suffix of the file, of the images in all styles, "pred", "pred_2" ..., and of their label map, "dseg".

    A contrast's image is called by its name, `T1w.nii.gz`; that in the style of a scan, or in a random one,
    `MR.nii.gz`, with its number among the styles where it is not the first.

    Raises:
        UserError: one contrast twice, whose images would have one name.
    """
    names, styles = [], [str(style), *listed(more)]
    for number, one in enumerate(styles, start=1):
        unnamed = "MR" if number == 1 else f"style-{number}_MR"
        names.append(f"{one if one in CONTRASTS and one != RANDOM else unnamed}.nii.gz")
    if len(set(names)) < len(names):
        raise UserError(f"style = {style!r} and more_styles = {styles[1:]} name a contrast twice; give each once.")
    return {"pred" if number == 1 else f"pred_{number}": name for number, name in enumerate(names, start=1)} | {
        "dseg": label
    }


def read_styles(
    style: str | Path, more: str | Path | Sequence[str | Path] = (), seed: int = 0
) -> dict[str, torch.Tensor]:
    """Key of a painted image, see `style_outputs`, -> its style slice, see `read_style`."""
    styles = [style, *listed(more)]
    return {key: read_style(one, seed) for key, one in zip(list(style_outputs(style, more))[:-1], styles, strict=True)}


def style_plane(scan: np.ndarray, affine: np.ndarray, name: str | Path) -> np.ndarray:
    """The slice float32 (h, w) of a skull-stripped scan (D, H, W) in RAS; see `read_style`."""
    background = float(np.median(np.concatenate([scan[0].ravel(), scan[-1].ravel(), scan[:, 0].ravel()])))
    inside = np.abs(scan - background) > 1e-3 * max(float(np.ptp(scan)), 1e-6)
    inside = ndi.binary_opening(inside)
    share = float(inside.mean())
    found = np.argwhere(inside)
    if not FILLED[0] <= share <= FILLED[1]:
        raise UserError(
            f"style {name}: {100 * share:.0f} % of its voxels differ from the background, so it shows no brain without "
            "a skull: strip the skull, for instance with SynthStrip, and set the background to 0."
        )
    low, high = found.min(0), found.max(0)
    middle = affine[:3, :3] @ ((low + high) / 2) + affine[:3, 3]
    middle[2] = (affine[:3, :3] @ (low + MIDDLE * (high - low)) + affine[:3, 3])[2]
    shape = np.array([*GRID[:2], 1])
    grid_affine = np.diag([SPACING_MM] * 3 + [1.0])
    grid_affine[:3, 3] = middle - SPACING_MM * (shape - 1) / 2
    # Levels above the scan's lowest: a z-scored scan has its darkest tissue far below 0.
    levels = np.where(inside, scan - float(np.percentile(scan[inside], 0.1)), 0).clip(0)
    plane = as_picture(to_grid(levels, affine, grid_affine, shape.tolist())[..., 0])
    bright = float(np.percentile(plane[plane > 0], BRIGHT)) if (plane > 0).any() else 1.0
    return (plane * PEAK / max(bright, 1e-6)).clip(0, 1).astype(np.float32)
