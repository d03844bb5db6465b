"""Axial slices to train on: healthy ones of phantoms or of one's own scans, and sick ones with their label."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from monai.data import Dataset

from synthzoo.datasets.brain.healthy_scans import training_slices
from synthzoo.datasets.brain.sick_slices import SickSlices
from synthzoo.inferers.brain_volumes import BrainVolume
from synthzoo.networks.brain_map import MapParts
from synthzoo.systems.generative_anomaly.slices import SliceImaged

AXIAL = (2,)


def healthy_images(
    data_format: str,
    dataset_dir: str | Path,
    network: MapParts,
    preprocessing: Callable,
    length: int | None = None,
    subjects: int = 125,
    rows_per_scan: int = 48,
    split: str = "train",
    cache_dir: str | Path | None = None,
) -> Dataset:
    """Healthy axial slices, {"image": (1, h, w) in the network's units, "conditions": 0}.

    Args:
        data_format, dataset_dir, length, rows_per_scan, split, cache_dir: see `training_slices`.
        network: with the `units` of its images, and a trained `extractor` where scans are read.
        preprocessing: of inference.json, for scans.
        subjects: of the pool of phantoms.
    """
    return training_slices(
        data_format,
        dataset_dir,
        BrainVolume(preprocessing, network),
        {"subjects": subjects},
        length,
        rows_per_scan=rows_per_scan,
        split=split,
        upright=True,
        cache_dir=cache_dir,
        transform=SliceImaged(network.units),
        axes=AXIAL,
    )


def labelled_images(units: Sequence[float], length: int, subjects: int = 300, cache_dir: str | None = None) -> Dataset:
    """Axial slices of sick phantoms, {"image": (1, h, w) in units, "conditions": 1 with a lesion in it, else 0}.

    Both kinds come from the same subjects and are painted alike, so that the lesion alone tells them apart. Lesions are
    those of `phantoms.brain.pathology`, not those of the evaluation.

    Args:
        units: of the images, see `to_units`.
        length, subjects, cache_dir: see `SickSlices`.
    """
    return Dataset(SickSlices(length, subjects=subjects, cache_dir=cache_dir, axes=AXIAL), SliceImaged(units))
