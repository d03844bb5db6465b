"""Pools of scenes, painted once and memory-mapped."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from synthzoo.io.files import atomic_folder, write_array, write_json
from synthzoo.phantoms.cache import cache_folder, settings_key, split_seeds
from synthzoo.phantoms.scenes.scene import CLASSES, make_scene

VERSION = 1  # of what is painted
SPLITS = {"train": (0, 1_000_000), "validation": (1_000_000, 2_000_000), "test": (2_000_000, 3_000_000)}


@dataclass(frozen=True)
class PoolSettings:
    """Which scenes a pool holds.

    Attributes:
        split: "train", "validation" or "test": which range of seeds they come from.
        scenes: number of them, the first of the split.
        size: pixels of a side.
    """

    split: str = "train"
    scenes: int = 4000
    size: int = 96

    def __post_init__(self) -> None:
        split_seeds("scenes have", SPLITS, self.split, self.scenes, "scenes")


class ScenePool:
    """Scenes of a pool: `images` uint8 (N, 3, S, S), `masks` uint8 (N, S, S), 0 or 1 + the number of the pixel's class.

    Attributes:
        captions: N texts.
        folder: where it lies.
    """

    def __init__(self, settings: PoolSettings, folder: Path) -> None:
        self.settings, self.folder = settings, folder
        self.images, self.masks = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("images", "masks"))
        self.captions: list[str] = json.loads((folder / "captions.json").read_text(encoding="utf-8"))

    def __len__(self) -> int:
        return len(self.images)


def load_scene_pool(
    split: str = "train",
    scenes: int = 4000,
    size: int = 96,
    folder: str | Path | None = None,
    progress: Callable[[Iterable], Iterable] | None = None,
) -> ScenePool:
    """The pool of these settings, painted the first time.

    Args:
        split, scenes, size: see `PoolSettings`.
        folder: where pools lie; None is `SYNTHZOO_CACHE` or `~/.cache/synthzoo`.
        progress: wraps the iteration over scenes, for instance `tqdm`.

    Raises:
        UserError: settings out of range, or a folder that cannot be written.
    """
    settings = PoolSettings(split, int(scenes), int(size))
    path = (Path(folder) if folder else cache_folder()) / f"scenes-{settings_key([VERSION, CLASSES, asdict(settings)])}"
    if not (path / "captions.json").is_file():
        with atomic_folder(path) as temporary:
            images = np.empty((settings.scenes, 3, settings.size, settings.size), np.uint8)
            masks, captions = np.zeros((settings.scenes, settings.size, settings.size), np.uint8), []
            for row in (progress or iter)(range(settings.scenes)):
                scene = make_scene(SPLITS[split][0] + row, settings.size)
                images[row] = np.rint(255 * scene.image)
                for one in scene.objects:
                    masks[row][one.mask] = 1 + CLASSES.index(one.kind)
                captions.append(scene.caption)
            write_array(temporary / "images.npy", images)
            write_array(temporary / "masks.npy", masks)
            write_json(temporary / "captions.json", captions)
    return ScenePool(settings, path)
