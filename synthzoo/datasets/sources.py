"""Sources of training volumes: phantoms, or a folder of one's own scans."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch.utils.data import Dataset

from synthzoo.datasets.brain.phantoms import BrainPhantomDataset
from synthzoo.datasets.participants import ParticipantsDataset
from synthzoo.errors import UserError

FORMATS = ("phantom", "tsv", "bids")


def training_images(
    data_format: str,
    dataset_dir: str | Path,
    conditions: Mapping[str, Mapping],
    shape: Sequence[int],
    affine: Sequence[Sequence[float]],
    crop: Sequence[Sequence[int]] | None = None,
    size: int | None = None,
    split: str = "train",
    cache_dir: str | Path | None = None,
    phantom: Mapping[str, Any] | None = None,
    phantoms: Callable[..., Dataset] = BrainPhantomDataset,
    scans: Mapping[str, Any] | None = None,
) -> Dataset:
    """Rows {"image": (1, D, H, W) in [0, 1], "conditions": (K,) in user units, "row"} for training.

    Args:
        data_format: "phantom" draws phantoms; "tsv" and "bids" read `dataset_dir`, its images in `images/` or in
            the folders of the subjects.
        dataset_dir: folder of `participants.tsv` and the images, see `datasets.participants`; empty for phantoms.
        conditions: name -> rule, in the order of the vector.
        shape, affine, crop: the grid of the network and how scans come to it, see `ParticipantsDataset`.
        size: number of rows; None takes all of a folder.
        split: "train", "validation" or "test".
        cache_dir: folder for prepared images, or None for memory.
        phantom: settings of `phantoms` besides size, split, conditions and cache.
        phantoms: the data set of phantoms, of brains unless another is given.
        scans: how scans of a folder are read: `suffix`, `window`, `centred` of `ParticipantsDataset`.

    Raises:
        UserError: unknown format, a format without its folder or a folder without its format, and what the data sets
            themselves refuse.
    """
    if data_format not in FORMATS:
        raise UserError(f"data_format = {data_format!r}: the known ones are {', '.join(FORMATS)}.")
    if data_format != "phantom":
        if not dataset_dir:
            raise UserError(
                f"data_format is {data_format}, but dataset_dir is empty: give the folder that holds participants.tsv."
            )
        return ParticipantsDataset(
            dataset_dir, conditions, shape, affine, crop, split, size, cache_dir, **dict(scans or {})
        )
    if dataset_dir:
        raise UserError(
            f"dataset_dir is {dataset_dir}, but data_format is phantom: add --data_format tsv or bids to read it."
        )
    if size is None:
        raise UserError("train_size is null, but phantoms never end: give the number of phantoms to draw.")
    return phantoms(size, split=split, conditions=list(conditions), cache_dir=cache_dir, **dict(phantom or {}))
