"""Any input by one function: a volume, a 2D image or a video, whatever the file's format."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from synthzoo.errors import UserError
from synthzoo.io.colour_volumes import is_colour_volume
from synthzoo.io.images import read_picture
from synthzoo.io.kinds import HOLDS, dicom_kind, format_of
from synthzoo.io.videos import as_unit, read_video
from synthzoo.io.volumes import MAX_VOXELS, is_nifti_video, read_volume


class Input(NamedTuple):
    """What an input file holds.

    Attributes:
        kind: "volume", "image" or "video".
        array: float32, channels first: volume (C, D, H, W) in the file's units; image (C, H, W) and video (1, T, H, W)
            in [0, 1].
        affine: [4, 4] float64, voxel to RAS mm of a volume; rows and columns to mm of an image; None where the size of
            a pixel is not known.
        fps: frames per second of a video that states them.
    """

    kind: str
    array: np.ndarray
    affine: np.ndarray | None = None
    fps: float | None = None


def kind_of_input(path: str | Path) -> str:
    """The kind of a file or folder: "volume", "image", "video" or "latents".

    Raises:
        UserError: it is not there, or neither its content nor its name says what it is.
    """
    path = Path(path)
    if not path.exists():
        raise UserError(f"image {path} does not exist: check the path.")
    form = None if path.is_dir() else format_of(path)
    if path.is_dir():
        return "volume"
    if form is None:
        raise UserError(f"image {path} is neither a volume nor a picture nor a video that is read: export it again.")
    if form == "dicom":
        return dicom_kind(path)
    if form == "nifti" and is_colour_volume(path):
        return "image"
    return "video" if form == "nifti" and is_nifti_video(path) else HOLDS[form][0]


def read_image(path: str | Path, channels: int = 1, colour: str = "refuse") -> Input:
    """Read a volume, a 2D image or a video, by its content and then its name.

    Args:
        path: NIfTI, a folder of DICOM slices, PNG, JPEG, DICOM of one or many frames, AVI, MP4, QuickTime, Matroska, or
            one slice in colour in NIfTI or NRRD.
        channels: that the network takes.
        colour: see `synthzoo.io.images.read_picture` and `synthzoo.io.videos.read_video`.

    Raises:
        UserError: what the reader of that kind says, in one sentence.
    """
    kind = kind_of_input(path)
    if kind == "image":
        picture = read_picture(path, channels, colour)
        affine = None if picture.spacing_mm is None else np.diag([*picture.spacing_mm, 1.0, 1.0])
        return Input(kind, picture.levels, affine)
    if kind == "video":
        video = read_video(path, colour=colour)
        if video.frames.size > MAX_VOXELS:
            said = " x ".join(map(str, video.frames.shape))
            raise UserError(f"image {path} has {said} voxels, and {MAX_VOXELS} are taken at most: cut it.")
        return Input(kind, as_unit(video.frames)[None], fps=video.fps)
    if kind == "latents":
        raise UserError(f"image {path} is a tensor of latents, not an image.")
    return Input(kind, *read_volume(path, channels))
