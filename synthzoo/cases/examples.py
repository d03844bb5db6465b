"""Seeded phantom inputs, so that a bundle that takes images can be tried with nothing at hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import synthzoo
from synthzoo.errors import UserError
from synthzoo.io.files import write_bytes
from synthzoo.io.images import png_bytes
from synthzoo.io.marks import Mark, with_mark
from synthzoo.io.nifti import write_nifti
from synthzoo.io.videos import as_uint8, avi_bytes
from synthzoo.phantoms.brain.phantom import draw_params as draw_brain
from synthzoo.phantoms.brain.phantom import make_anatomy, make_brain
from synthzoo.phantoms.chest.phantom import chest_study
from synthzoo.phantoms.echo.phantom import draw_params as draw_echo
from synthzoo.phantoms.echo.phantom import make_clip
from synthzoo.phantoms.garments.phantom import make_garment
from synthzoo.phantoms.scenes.scene import make_scene

FOLDER = "example_input"  # below the output folder
SPACING_MM, COARSE_MM = 2.0, 4.0
THICK = 3  # voxels of 2 mm in a slice of the scan of thick slices
TUMOUR = {"core_ml": 4.0, "enhancing_ml": 7.0, "oedema_ml": 25.0}
RADIOGRAPH_SIZE = 384  # pixels
PHOTOGRAPH_SIZE = 256  # pixels
FIRST_GARMENT = 2_900_000  # of the test split, beyond those that evaluations use
VIDEO: dict[str, Any] = {"size": 112, "frames": 50, "fps": 32.0}


def write_brain_flair(folder: Path, seed: int, mark: Mark) -> Path:
    """Write the FLAIR volume of a brain phantom with a tumour, 2 mm, skull-stripped."""
    phantom = make_brain(replace(draw_brain(seed), tumour=TUMOUR), SPACING_MM, "FLAIR")
    path = folder / f"example-{seed}_FLAIR.nii.gz"
    write_nifti(path, phantom.image, phantom.anatomy.affine, mark=mark)
    return path


def write_brain_thick(folder: Path, seed: int, mark: Mark) -> Path:
    """Write a FLAIR scan of a brain phantom with a tumour in axial slices of 6 mm, 2 mm within a slice, stripped."""
    phantom = make_brain(replace(draw_brain(seed), tumour=TUMOUR), SPACING_MM, "FLAIR", noise=0.015)
    found = np.argwhere(phantom.image > 0)
    low, high = np.maximum(found.min(0) - 2, 0), found.max(0) + 3
    thick = phantom.image[:, :, : phantom.image.shape[2] // THICK * THICK]
    thick = thick.reshape(*thick.shape[:2], -1, THICK).mean(-1)
    box = (slice(low[0], high[0]), slice(low[1], high[1]), slice(low[2] // THICK, -(-high[2] // THICK)))
    affine = phantom.anatomy.affine @ np.diag([1, 1, THICK, 1.0])
    start = [low[0], low[1], low[2] // THICK * THICK + (THICK - 1) / 2, 1]
    affine[:3, 3] = (phantom.anatomy.affine @ start)[:3]
    path = folder / f"example-{seed}_FLAIR.nii.gz"
    write_nifti(path, thick[box], affine, mark=mark)
    return path


def write_brain_t1w(folder: Path, seed: int, mark: Mark) -> Path:
    """Write the T1-weighted volume of a healthy brain phantom, 4 mm, skull-stripped."""
    phantom = make_brain(draw_brain(seed), COARSE_MM, noise=0.01, bias=0.1)
    path = folder / f"example-{seed}_T1w.nii.gz"
    write_nifti(path, phantom.image, phantom.anatomy.affine, mark=mark)
    return path


def write_brain_labels(folder: Path, seed: int, mark: Mark) -> Path:
    """Write the label map of a brain phantom, 2 mm; its values are `synthzoo.phantoms.brain.phantom.LABELS`."""
    phantom = make_anatomy(draw_brain(seed), SPACING_MM)
    path = folder / f"example-{seed}_dseg.nii.gz"
    write_nifti(path, phantom.labels.astype(np.uint8), phantom.affine, mark=mark)
    return path


def write_brain_picture(folder: Path, seed: int, mark: Mark) -> Path:
    """Write an axial slice of a T1-weighted brain phantom as a 16-bit PNG, 2 mm a pixel, seen from below."""
    volume = make_brain(draw_brain(seed), SPACING_MM).image
    plane = volume[:, :, volume.shape[2] // 2].T[::-1]
    path = folder / f"example-{seed}_T1w.png"
    write_bytes(path, with_mark(png_bytes(plane), mark))
    return path


def write_echo_video(folder: Path, seed: int, mark: Mark) -> Path:
    """Write an apical four-chamber video of an echo phantom, 112 x 112 pixels, 50 frames at 32 a second."""
    phantom = make_clip(draw_echo(seed), **VIDEO)
    path = folder / f"example-{seed}_echo.avi"
    write_bytes(path, with_mark(avi_bytes(as_uint8(phantom.frames, path.name), phantom.fps, name=path.name), mark))
    return path


def write_chest_radiograph(folder: Path, seed: int, mark: Mark) -> Path:
    """Write a frontal radiograph of a chest phantom with a consolidation as a 16-bit PNG, 384 x 384 pixels."""
    study = chest_study(seed, findings=["consolidation"], size=RADIOGRAPH_SIZE)
    path = folder / f"example-{seed}_cxr.png"
    write_bytes(path, with_mark(png_bytes(study.image), mark))
    return path


def write_scene_photograph(folder: Path, seed: int, mark: Mark) -> Path:
    """Write a painted scene with a dog as a PNG, 256 x 256 pixels."""
    scene = make_scene(seed, PHOTOGRAPH_SIZE, 1, ("dog",))
    path = folder / f"example-{seed}_photograph.png"
    write_bytes(path, with_mark(png_bytes(scene.image), mark))
    return path


def write_garment_photograph(folder: Path, seed: int, mark: Mark) -> Path:
    """Write a phantom of a top with a known neckline and sleeves as a PNG, 256 x 256 pixels."""
    path = folder / f"example-{seed}_garment.png"
    write_bytes(path, with_mark(png_bytes(make_garment(FIRST_GARMENT + seed, PHOTOGRAPH_SIZE).image), mark))
    return path


EXAMPLES: dict[str, Callable[[Path, int, Mark], Path]] = {
    "brain_flair": write_brain_flair,
    "brain_labels": write_brain_labels,
    "brain_picture": write_brain_picture,
    "brain_t1w": write_brain_t1w,
    "brain_thick": write_brain_thick,
    "chest_radiograph": write_chest_radiograph,
    "echo_video": write_echo_video,
    "garment_photograph": write_garment_photograph,
    "scene_photograph": write_scene_photograph,
}


def write_example(kind: str, folder: str | Path, seed: int = 0) -> Path:
    """Write a seeded example input into a folder and return its path; it is marked as synthetic.

    Args:
        kind: a key of `EXAMPLES`, as `synthzoo.example_input` of metadata.json states it.
        folder: where to; created if it is not there.
        seed: of the phantom, an integer from 0.

    Raises:
        UserError: an unknown kind.
    """
    if kind not in EXAMPLES:
        raise UserError(f"example_input is '{kind}', but must be one of {', '.join(EXAMPLES)}.")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    record = {
        "Synthetic": True,
        "bundle": "synthzoo",
        "version": synthzoo.__version__,
        "phantom": kind,
        "seed": int(seed),
    }
    return EXAMPLES[kind](folder, int(seed), Mark(True, record))
