"""Anomaly maps of brains as a bundle makes them, without files: of a scan, of pairs of phantoms, of turned scans."""

from __future__ import annotations

from collections.abc import Callable

import nibabel as nib
import numpy as np
import torch
from monai.data import MetaTensor

from synthzoo.phantoms.brain import phantom as brain
from synthzoo.phantoms.brain.contrast import render
from synthzoo.transforms.head_grid import FromHeadGridd, ToHeadGridd, resample

TUMOUR = {"tumour": {"core_ml": 6.0, "enhancing_ml": 10.0, "oedema_ml": 35.0}}
GRIDS = [("LPS", (1.0, 1.0, 4.0)), ("PIR", (2.5, 1.2, 1.2)), ("RAS", (3.0, 3.0, 3.0))]


def heat_of(scan: nib.Nifti1Image, network: torch.nn.Module, inferer: Callable) -> tuple[np.ndarray, np.ndarray]:
    """The map on the scan's grid, and its affine.

    Args:
        scan: any orientation and spacing.
        network, inferer: of a bundle.
    """
    array = torch.from_numpy(scan.get_fdata(dtype=np.float32).copy())[None]
    sample = ToHeadGridd("image")({"image": MetaTensor(array, affine=torch.from_numpy(scan.affine))})
    sample["pred"] = inferer(sample["image"][None], network)[0]
    out = FromHeadGridd("pred")(sample)["pred"]
    return np.asarray(out)[0], np.asarray(out.affine)


def paired_maps(network: torch.nn.Module, inferer: Callable, seed: int, contrast: str, gadolinium: bool) -> dict:
    """Maps of a subject with a tumour, "sick", and of the same subject without, "well"; and the truth, "lesion"."""
    params = brain.draw_params(seed).to_dict()
    maps = {}
    for name, extra in (("sick", TUMOUR), ("well", {})):
        anatomy = brain.make_anatomy(brain.BrainParams(**{**params, **extra}), 2.0)
        image = render(anatomy, contrast, seed=5, gadolinium=gadolinium)
        maps[name] = heat_of(nib.Nifti1Image(image, anatomy.affine), network, inferer)[0]
        if extra:
            maps["lesion"] = sum(anatomy.lesions.values()) > 0.5
    return maps


def spotted_scan() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A head with a spot brighter than any tissue, 14 mm wide and off the middle on every axis; spot and affine."""
    anatomy = brain.make_anatomy(brain.draw_params(270_002), 2.0)
    image = render(anatomy, "T1w", seed=6, bias=0.0)
    spot = np.zeros_like(image)
    spot[40:47, 70:77, 55:62] = 1
    image[spot > 0] = 3.0
    return image, spot, anatomy.affine


def expect_map_on_spot(axes: str, spacing: tuple[float, ...], mapped: Callable) -> None:
    """A map lies on the scan's own grid, its heat where the spot is, whatever the scan's orientation and spacing.

    Args:
        axes: directions of the scan's axes, such as "LPS".
        spacing: of the scan, mm.
        mapped: scan -> map and affine; hot at the spot alone.
    """
    image, spot, affine = spotted_scan()
    scan, truth = (turned(array, affine, axes, spacing) for array in (image, spot))
    heat, found_affine = mapped(scan)
    assert heat.shape == scan.shape
    np.testing.assert_allclose(found_affine, scan.affine)
    found, wanted = (
        np.argwhere(v > 0.5) @ scan.affine[:3, :3].T + scan.affine[:3, 3] for v in (heat, truth.get_fdata())
    )
    assert np.abs(found.mean(0) - wanted.mean(0)).max() < 2.0  # mm


def turned(array: np.ndarray, affine: np.ndarray, axes: str, spacing: tuple[float, ...]) -> nib.Nifti1Image:
    """Resampled to an oblique grid of `spacing` with the axis order and directions of `axes`."""
    angle = np.deg2rad(12)
    oblique = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    shape = np.round(np.array((200, 240, 200)) / spacing).astype(int)
    target = np.eye(4)
    target[:3, :3] = oblique @ np.diag(spacing)
    middle = affine[:3, :3] @ ((np.array(array.shape) - 1) / 2) + affine[:3, 3]
    target[:3, 3] = middle - target[:3, :3] @ ((shape - 1) / 2)
    scan = nib.Nifti1Image(resample(array, affine, tuple(shape), target), target)
    change = nib.orientations.ornt_transform(nib.io_orientation(target), nib.orientations.axcodes2ornt(axes))
    return scan.as_reoriented(change)
