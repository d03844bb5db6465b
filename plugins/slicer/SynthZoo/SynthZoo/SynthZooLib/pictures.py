"""Flat images between the scene and PNG: 16 bits on the way out, the place of their source on the way in.

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
    """Write a flat volume as a grey PNG of 16 bits, its highest value white; gives the path.

    Raises:
        ZooError: colours, values that are no numbers, a disk that is full.
    """
    image = node.GetImageData()
    if image.GetNumberOfScalarComponents() != 1:
        raise ZooError(
            f"{node.GetName()} has colours or several components: choose an image with one number per pixel."
        )
    levels = np.squeeze(volumes.voxels(node)).astype(np.float64)
    if levels.ndim != 2 or not np.isfinite(levels).all():
        raise ZooError(f"{node.GetName()} is no flat image of finite numbers: choose another one.")
    low = min(0.0, float(levels.min()))
    high = max(float(levels.max()), low + 1e-12)
    return write_deep(node, np.rint((levels - low) / (high - low) * 65535), folder, "image.png")


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
    deep, path = numbers.astype(">u2"), os.path.join(folder, name)
    try:
        with open(path, "wb") as file:
            file.write(png_of(deep))
    except OSError as error:
        raise ZooError(f"{node.GetName()} cannot be written to {folder}: free some space there.") from error
    return path


def read_map(scene, path: str, name: str, source=None):
    """A map as a volume node with values in [0, 1]; one of a PNG lies where its source lies.

    Raises:
        ZooError: the file cannot be read.
    """
    node = volumes.read_volume(scene, path, name)
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
    pixels, shape = volumes.voxels(node), volumes.voxels(source).shape[:3]
    if [n for n in pixels.shape if n > 1] == [n for n in shape if n > 1]:
        slicer.util.updateVolumeFromArray(node, np.ascontiguousarray(pixels.reshape(shape)))
        node.SetIJKToRASMatrix(volumes.world_matrix(source))
