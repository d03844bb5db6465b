"""A small data set in ChestX-ray14's layout: two radiographs a patient, whose pattern is the patient's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

COLUMNS = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,OriginalImage[Width,"
    "Height],OriginalImagePixelSpacing[x,y]"
)


def patterns(patients: int, size: int = 64, studies: int = 2, seed: int = 0) -> np.ndarray:
    """Radiographs uint8 (patients, studies, size, size): a smooth pattern for each patient, noise for each study."""
    rng = np.random.default_rng(seed)
    smooth = gaussian_filter(rng.normal(size=(patients, 1, size, size)), (0, 0, 5, 5))
    smooth /= smooth.std((2, 3), keepdims=True)
    noise = 0.2 * rng.normal(size=(patients, studies, size, size))
    return (128 + 45 * (smooth + noise)).clip(0, 255).astype(np.uint8)


def write_chests(folder: Path, patients: int = 60, size: int = 64) -> Path:
    """The data set; three quarters of the patients stand in the list of training and validation."""
    (folder / "images").mkdir(parents=True)
    lines: list[str] = [COLUMNS]
    lists: dict[str, list[str]] = {"train_val_list.txt": [], "test_list.txt": []}
    for number, images in enumerate(patterns(patients, size), 1):
        for study, image in enumerate(images):
            name = f"{number:08d}_{study:03d}.png"
            Image.fromarray(image).save(folder / "images" / name)
            finding = "Effusion" if (number + study) % 2 else "No Finding"
            sex = "M" if number % 2 else "F"
            lines.append(f"{name},{finding},{study},{number},45,{sex},PA,{size},{size},0.14,0.14")
            lists["train_val_list.txt" if number <= 0.75 * patients else "test_list.txt"].append(name)
    (folder / "Data_Entry_2017.csv").write_text("\n".join(lines) + "\n")
    for name, names in lists.items():
        (folder / name).write_text("\n".join(names) + "\n")
    return folder
