"""Training of the CT instrument: phantoms of its own with the shares of each voxel, scales, and stated errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import ndimage as ndi
from torch.utils.data import Dataset
from tqdm import tqdm

from synthzoo.datasets.chest.ct import WINDOW_HU, grid
from synthzoo.datasets.participants import windowed
from synthzoo.instruments.brain.phantoms import degrade
from synthzoo.instruments.chest import ct
from synthzoo.instruments.weights import rounded
from synthzoo.io.files import write_array, write_json
from synthzoo.metrics.agreement import agreement, conditioning
from synthzoo.phantoms.chest.measured import LUNG, MEASURES, VERSION, draw_volumes, measured_chest

# Within each split, far beyond the subjects of any bundle.
FIRST = {"train": 80_000, "validation": 180_000, "test": 280_000}
TRAINED = "python scripts/train_chest_instruments.py ct"  # in two runs, the second from the first's weights
COMMAND = f"{TRAINED} --folder FIRST --page None; {TRAINED} --iterations 800 --init_from FIRST/chest_ct.pt"
BLUR = 0.5  # voxels, of the blurred copies
WEIGHTS_OF_CLASSES = (1.0, 1.0, 40.0, 20.0, 10.0, 20.0)  # of `ct.CLASSES` in the loss: findings are few of the voxels
LEAST_SLOPE = 0.05  # what is overlooked reads little, not everything


class InstrumentChests(Dataset):
    """CT phantoms as {"image": float32 (1, 96, 96, 80) in [0, 1], "shares": float32 (6, 96, 96, 80)}.

    Args:
        split: "train", whose images are degraded afresh in each draw, "validation" or "test", whose are not.
        size: number of subjects.
        cache: folder in which a subject is kept; None keeps him in memory.
    """

    def __init__(self, split: str, size: int, cache: str | Path | None = None) -> None:
        self.split, self.size, self.memory = split, size, {}
        self.folder = Path(cache) / f"chest-ct-instrument-{VERSION}" if cache else None

    def __len__(self) -> int:
        return self.size

    def subject(self, row: int) -> tuple[np.ndarray, np.ndarray]:
        """Image float16 (96, 96, 80), shares of lung and findings uint8 (5, 96, 96, 80), in 255ths."""
        if row in self.memory:
            return self.memory[row]
        seed = FIRST[self.split] + row
        paths = [] if self.folder is None else [self.folder / f"{seed}-{part}.npy" for part in ("image", "shares")]
        if paths and all(path.is_file() for path in paths):
            image, shares = (np.load(path) for path in paths)
            return image, shares
        first, shape, _ = grid(ct.SPACING_MM)
        hu, parts = measured_chest(seed, draw_volumes(seed)).ct(ct.SPACING_MM, first, shape)
        image = windowed(hu, WINDOW_HU).astype(np.float16)
        shares = np.round(255 * parts.clip(0, 1)).astype(np.uint8)
        for path, part in zip(paths, (image, shares)):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_array(path, part)
        if not paths:
            self.memory[row] = image, shares
        return image, shares

    def truth(self, row: int) -> np.ndarray:
        """What the subject holds, mL (len(MEASURES),), counted on the grid."""
        shares = torch.from_numpy(self.subject(row)[1].astype(np.float32) / 255)
        return ct.volumes_of(torch.cat([shares[:1] * 0, shares])[None])[0].numpy()

    def __getitem__(self, row: int) -> dict[str, torch.Tensor]:
        image, parts = self.subject(row)
        image, shares = image.astype(np.float32), parts.astype(np.float32) / 255
        if self.split == "train":
            rng = np.random.default_rng(np.random.randint(2**31))  # the loader has seeded numpy for this draw
            image = degrade(image, rng)
        rest = np.clip(1 - shares.sum(0, keepdims=True), 0, 1)
        return {"image": torch.from_numpy(image)[None], "shares": torch.from_numpy(np.concatenate([rest, shares]))}


def pooled(values: np.ndarray) -> dict[str, np.ndarray]:
    """Values (N, len(MEASURES)) by what has a scale of its own: (N,) of the lungs, (2 N,) of a finding's two sides."""
    columns = dict(zip(MEASURES, values.T, strict=True))
    return {
        name: np.concatenate([found for key, found in columns.items() if key == name or key.startswith(name[:-2])])
        for name in ct.READ
    }


def counted(network: torch.nn.Module, rows: InstrumentChests, blur: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """What a network counts in subjects, and what they hold, both mL (N, len(MEASURES))."""
    found, truth = [], []
    for row in tqdm(range(len(rows)), desc=rows.split, mininterval=2.0):
        image = rows.subject(row)[0].astype(np.float32)
        image = ndi.gaussian_filter(image, blur) if blur else image
        found.append(ct.count_chests(network, image[None])[0])
        truth.append(rows.truth(row))
    return np.stack(found), np.stack(truth)


def _line(truth: np.ndarray, found: np.ndarray) -> list[float]:
    """Slope and offset of what was counted against what is there, (N,) each; 1 and the mean of a kind no one has."""
    if np.ptp(truth) == 0:
        return [1.0, rounded(found.mean())]
    fitted = agreement(truth, found)
    return [max(fitted["slope"], LEAST_SLOPE), fitted["intercept"]]


def make_report(folder: str | Path, sizes: tuple[int, int, int], cache: str | Path | None = None) -> dict[str, Any]:
    """Fit the scales on validation subjects, measure errors on test subjects, write both beside the weights.

    Args:
        folder: of the trained weights; `chest_ct.json` goes there.
        sizes: training, validation and test subjects.
        cache: see `InstrumentChests`.

    Returns:
        What was written: "scales", and "errors" of sharp images and of blurred copies, each with its control.
    """
    network = ct.read_network({ct.NAME: ct.ChestNet}, ct.NAME, Path(folder), ct.REMEDY)
    found, truth = (pooled(part) for part in counted(network, InstrumentChests("validation", sizes[1], cache)))
    scales = {name: _line(truth[name], found[name]) for name in ct.READ}
    errors: dict[str, dict] = {}
    test = InstrumentChests("test", sizes[2], cache)
    for kind, blur in (("sharp", 0.0), ("blurred", BLUR)):
        counts, held = counted(network, test, blur)
        read = pooled(np.stack(list(ct.scaled(counts, scales).values()), 1))
        errors[kind] = {name: conditioning(values, read[name]) for name, values in pooled(held).items()}
    report = {
        "command": COMMAND,
        "grid": list(ct.GRID),
        "spacing_mm": ct.SPACING_MM,
        "subjects": dict(zip(FIRST, sizes, strict=True)),
        "blur_voxels": BLUR,
        "scales": scales,
        "errors": errors,
    }
    write_json(Path(folder) / f"{ct.NAME}.json", report)
    ct.stated_errors.cache_clear()
    ct.load_network.cache_clear()
    return report


def report_table(found: dict[str, Any]) -> str:
    """The stated errors and their controls as Markdown."""
    sizes = ", ".join(f"{number} {split} subjects" for split, number in found["subjects"].items())
    lines = [f"Of {sizes}:", ""]
    lines += ["| CT | images | r | slope | mean error, mL | shuffled, r, mL |", "|---|---|---|---|---|---|"]
    for kind, errors in found["errors"].items():
        for name, e in errors.items():
            what = "both lungs" if name == LUNG else f"{name.removesuffix('_ml')}, by side"
            lines.append(
                f"| {what} | {kind} | {e['r']:.3f} | {e['slope']:.3f} | {e['mae']:.1f} | "
                f"{e['shuffled']['r']:.3f}, {e['shuffled']['mae']:.1f} |"
            )
    return "\n".join(lines)
