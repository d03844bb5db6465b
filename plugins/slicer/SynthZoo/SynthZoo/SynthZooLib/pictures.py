"""Flat images between the scene and PNG: grey of 16 bits or colours out, and in at the place of their source.

A PNG says nothing of millimetres, so what a model made of a flat volume is put back where that volume lies.
"""

from __future__ import annotations

import os

import numpy as np
import slicer

from . import volumes
from .errors import ZooError
from .png import is_picture, png_of

WHITE = {"uint8": 255.0, "uint16": 65535.0}


def write_picture(node, folder: str) -> str:
    """Write a flat volume as a PNG, grey of 16 bits with its highest value white, or colours; gives the path.

    Raises:
        ZooError: values that are no numbers, colours that are no colours or transparent, a disk that is full.
    """
    pixels = volumes.voxels(node)[..., None] if components(node) == 1 else opaque(node)
    levels = pixels.reshape(*(length for length in pixels.shape[:3] if length > 1), pixels.shape[3])
    if levels.ndim != 3 or not np.isfinite(levels).all():
        raise ZooError(f"{node.GetName()} is no flat image of finite numbers: choose another one.")
    if levels.shape[2] > 1:
        return write_png(node, levels, folder, "image.png")
    levels = levels[..., 0].astype(np.float64)
    low = min(0.0, float(levels.min()))
    high = max(float(levels.max()), low + 1e-12)
    return write_deep(node, np.rint((levels - low) / (high - low) * 65535), folder, "image.png")


def components(node) -> int:
    """How many numbers a pixel of a volume has."""
    return node.GetImageData().GetNumberOfScalarComponents()


def opaque(node) -> np.ndarray:
    """Grey or red, green and blue of a volume with several numbers a pixel, uint8 [k, j, i, 1 or 3].

    Raises:
        ZooError: other numbers than bytes or 16 bits, alpha that is not opaque, or more than a colour has.
    """
    pixels, count = volumes.voxels(node), components(node)
    white = WHITE.get(pixels.dtype.name)
    if white is None or count > 4:
        raise ZooError(f"{node.GetName()} has several numbers per pixel that are no colours: choose another image.")
    if count in (2, 4) and pixels[..., -1].min() < white:
        raise ZooError(f"{node.GetName()} is transparent in places: save it without transparency and load it again.")
    bands = pixels[..., : 3 if count > 2 else 1]
    return np.rint(bands * (255.0 / white)).astype(np.uint8)


def write_numbers(node, folder: str) -> str:
    """Write a flat label map as a PNG that holds its numbers; gives the path.

    Raises:
        ZooError: numbers that 16 bits do not hold, a disk that is full.
    """
    numbers = np.squeeze(volumes.voxels(node))
    if numbers.ndim != 2 or numbers.min() < 0 or numbers.max() > WHITE["uint16"]:
        raise ZooError(f"{node.GetName()} is no flat label map of values from 0 to 65535: choose another one.")
    return write_deep(node, numbers, folder, "labels.png")


def write_deep(node, numbers: np.ndarray, folder: str, name: str) -> str:
    """Write numbers (rows, columns) from 0 to 65535 as a grey PNG of 16 bits; gives the path."""
    return write_png(node, numbers.astype(">u2"), folder, name)


def write_png(node, pixels: np.ndarray, folder: str, name: str) -> str:
    """Write what `png.png_of` takes; gives the path."""
    path = os.path.join(folder, name)
    try:
        with open(path, "wb") as file:
            file.write(png_of(np.ascontiguousarray(pixels)))
    except OSError as error:
        raise ZooError(f"{node.GetName()} cannot be written to {folder}: free some space there.") from error
    return path


def read_map(scene, path: str, name: str, source=None):
    """A map as a volume node with values in [0, 1]; one of a PNG lies where its source lies.

    Raises:
        ZooError: the file cannot be read, or has colours.
    """
    node = volumes.read_volume(scene, path, name, grey=True)
    if is_picture(path):
        levels = volumes.voxels(node)
        white = WHITE.get(levels.dtype.name, 1.0)
        slicer.util.updateVolumeFromArray(node, (levels / white).astype(np.float32))
        settle(node, source)
    return node


def settle(node, source) -> None:
    """Put a flat image of as many pixels as its source where that lies; one of another size stays where it is."""
    if source is None or not source.IsA("vtkMRMLVolumeNode") or source.GetImageData() is None:
        return
    pixels, shape = volumes.voxels(node), volumes.voxels(source).shape[:3]  # without the numbers of a colour
    if [n for n in pixels.shape if n > 1] == [n for n in shape if n > 1]:
        slicer.util.updateVolumeFromArray(node, np.ascontiguousarray(pixels.reshape(shape)))
        node.SetIJKToRASMatrix(volumes.world_matrix(source))
