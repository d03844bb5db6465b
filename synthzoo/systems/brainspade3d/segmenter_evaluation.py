"""Evaluation of the segmenter on whole phantoms of its own distribution that no training and no threshold saw.

Each contrast shows the same subjects, once with the whole brain in view and once cut by the field of view. Beside the
network stands what intensity alone gives: the smoothed rank, with the threshold that suits the test subjects best, a
bar that no user could set. Its speed is that of a scan of 1 mm from file to labels, beside MONAI's own sliding window
over slices with the same network, which reads the whole head.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.inferers import SliceInferer
from scipy import ndimage as ndi
from tqdm import tqdm

from synthzoo.evaluation.base import Evaluation, Found
from synthzoo.evaluation.benchmark import machine_of
from synthzoo.phantoms.brain.pathology.pool import sick_subject
from synthzoo.phantoms.brain.pathology.scans import LABELS, TISSUES, Scan, sick_scan
from synthzoo.phantoms.brain.pathology.subject import SickBrain, sicken
from synthzoo.phantoms.brain.pool import anatomy_maps
from synthzoo.systems.brainspade3d.segmenter import BrainSegmenter, scan_channels
from synthzoo.systems.brainspade3d.segmenter_calibration import LEAST_ML, VOXEL_ML, dice, read_scan
from synthzoo.systems.brainspade3d.segmenter_inferer import DecideOnScand, SegmenterInferer, windows
from synthzoo.transforms.head_grid import ToHeadGridd, resample

FIRST_SEED = 600_000
CONTRASTS = ("FLAIR", "T1Gd", "T1w", "T2w")
BOUNDS = (20.0, 100.0)  # mL, between small, middling and large
SIZES = ("below 20 mL", "20 to 100 mL", "above 100 mL")
RANKS = np.linspace(0.5, 0.98, 25)


class SegmenterEvaluation(Evaluation):
    """Dice of lesions by volume, contrast and view, of parts and tissues, and millilitres called in healthy brains.

    Args:
        network: trained `BrainSegmenter` with its threshold.
        report, work_dir, parts: see `Evaluation`.
        subjects: sick test subjects.
        healthy: subjects without lesions.
        first_seed: of the subjects.
    """

    PARTS = ("lesions", "false_alarms", "speed")

    def __init__(
        self,
        network: BrainSegmenter,
        subjects: int = 16,
        healthy: int = 4,
        first_seed: int = FIRST_SEED,
        **shared: Any,
    ) -> None:
        super().__init__(network, settings={"subjects": subjects, "healthy": healthy, "seed": first_seed}, **shared)
        self.subjects, self.healthy, self.first_seed = subjects, healthy, first_seed

    @cached_property
    def sick(self) -> list[SickBrain]:
        """Subjects with at least `LEAST_ML`, in the order of their seeds."""
        found: list[SickBrain] = []
        seed = self.first_seed
        while len(found) < self.subjects:
            subject = sick_subject(seed)
            found += [subject] if sum(subject.ml.values()) >= LEAST_ML else []
            seed += 1
        return found

    def labels_of(self, scan: Scan) -> np.ndarray:
        """What the network says of a scan, by `LABELS`."""
        return self.network.decide(read_scan(self.network, scan, self.device)).cpu().numpy() * scan.mask

    def scans(self, contrast: str, cut: bool) -> Iterator[Scan]:
        """The test subjects in a contrast, each in a look of its own."""
        for number, subject in enumerate(self.sick):
            rng = np.random.RandomState(self.first_seed + 10 * number + cut)
            yield sick_scan(subject, rng, contrast, cut=float(cut))

    def lesions(self) -> Found:
        """Every contrast, beside what intensity alone gives."""
        found, rows, tissue_rows = Found(), [], []
        for contrast in CONTRASTS:
            for cut in (False, True):
                rows.append(self._row(found, contrast, cut, tissue_rows))
        columns = ["contrast", "view", "Dice", "worst", *SIZES, "enhancing", "intensity alone"]
        found.add("Lesions of unseen phantoms", columns, rows)
        found.add("Tissues of unseen phantoms, Dice", ["contrast", *TISSUES[1:]], tissue_rows)
        return found

    def _row(self, found: Found, contrast: str, cut: bool, tissue_rows: list) -> list:
        scores, sizes, shining, ranks, tissues = [], [], [], [], []
        for scan in tqdm(self.scans(contrast, cut), total=self.subjects, desc=f"{contrast}{', cut' if cut else ''}"):
            labels, truth = self.labels_of(scan), scan.labels
            sick = truth >= len(TISSUES)
            tissues.append([dice(labels == number, truth == number) for number in range(1, len(TISSUES))])
            if sick.sum() * VOXEL_ML < LEAST_ML:
                continue
            scores.append(dice(labels >= len(TISSUES), sick))
            sizes.append(float(sick.sum() * VOXEL_ML))
            smooth = ndi.gaussian_filter(scan.rank, 1.0)
            ranks.append([dice((smooth > level) & scan.mask, sick) for level in RANKS])
            part = truth == LABELS["enhancing"]
            if part.sum() * VOXEL_ML >= LEAST_ML:
                shining.append(dice(labels == LABELS["enhancing"], part))
        groups = np.digitize(sizes, BOUNDS)
        means = [_mean([s for s, g in zip(scores, groups) if g == group]) for group in range(len(SIZES))]
        name = f"{contrast.lower()}{'_cut' if cut else ''}"
        found.figures |= {f"{name}_dice": _mean(scores), f"{name}_worst": round(min(scores), 4)}
        found.figures |= {
            f"{name}_large_dice": means[-1],
            f"{name}_intensity_dice": round(float(np.mean(ranks, 0).max()), 4),
        }
        if contrast == "T1Gd":
            found.figures[f"{name}_enhancing_dice"] = _mean(shining)
        if not cut:
            tissue_rows.append([contrast, *(round(float(x), 3) for x in np.mean(tissues, 0))])
        intensity = found.figures[f"{name}_intensity_dice"]
        view = "cut" if cut else "whole"
        return [contrast, view, _mean(scores), round(min(scores), 3), *means, _mean(shining), intensity]

    def false_alarms(self) -> Found:
        """Millilitres that are called lesion in brains without one."""
        found, rows = Found(), []
        brains = [sicken(anatomy_maps(self.first_seed + 1_000_000 + number), [], 0) for number in range(self.healthy)]
        for contrast in CONTRASTS:
            called = []
            for number, brain in enumerate(brains):
                scan = sick_scan(brain, np.random.RandomState(self.first_seed + number), contrast, cut=0.0)
                called.append(float((self.labels_of(scan) >= len(TISSUES)).sum() * VOXEL_ML))
            found.figures[f"{contrast.lower()}_false_ml"] = round(float(np.mean(called)), 3)
            rows.append([contrast, round(float(np.mean(called)), 2), round(max(called), 2)])
        found.add("Called lesion in healthy phantoms, mL", ["contrast", "mean", "largest"], rows)
        return found

    def speed(self) -> Found:
        """Seconds for a scan of 1 mm: all of it, the network's part, and the same by MONAI's `SliceInferer`."""
        scan = sick_scan(self.sick[0], np.random.RandomState(self.first_seed), "FLAIR", cut=0.0)
        coarse, fine = np.diag([2.0, 2.0, 2.0, 1.0]), np.eye(4)
        image = np.where(scan.mask, 100 * (scan.image + 5), 0).astype(np.float32)
        image = resample(image, coarse, tuple(2 * n for n in image.shape), fine)
        sample = {"image": MetaTensor(torch.from_numpy(image)[None], affine=torch.from_numpy(fine)), "case": "phantom"}
        inferer = SegmenterInferer()
        start = time.perf_counter()
        sample = ToHeadGridd("image", 2.0, upright=True)(sample)
        prepared = time.perf_counter()
        sample["pred"] = inferer(sample["image"][None].to(self.device), self.network)[0].cpu()
        read = time.perf_counter()
        DecideOnScand("pred", float(self.network.threshold))(sample)
        ended = time.perf_counter()
        head = sample["image"][0].as_subclass(torch.Tensor).numpy()
        mask = sample["pred"][0].numpy() < 1
        volume = torch.from_numpy(scan_channels(head, mask)).to(self.device)
        own, other = self._network_seconds(volume, mask)
        found = Found()
        columns = ["machine", "all", "preparation", "network and extraction", "labels", "slices", "slices by MONAI"]
        times = [ended - start, prepared - start, read - prepared, ended - read, own, other]
        found.add("A scan of 1 mm, seconds", columns, [[machine_of(self.device), *(round(t, 2) for t in times)]])
        found.figures |= {
            "scan_seconds": round(ended - start, 2),
            "slices_seconds": round(own, 2),
            "monai_slices_seconds": round(other, 2),
            "times_monai": round(other / own, 2),
        }
        return found

    def _network_seconds(self, volume: torch.Tensor, mask: np.ndarray) -> tuple[float, float]:
        """Seconds for all slices of a head: as the bundle reads them, and by MONAI; the better of two turns each."""
        source, target = windows(mask, self.network.grid)
        small = torch.zeros(2, *self.network.grid, device=self.device)
        own, other = [], []
        with torch.inference_mode():
            for _ in range(2):
                start = time.perf_counter()
                small[(slice(None), *target)] = volume[(slice(None), *source)]
                self.network.read(small)
                own.append(time.perf_counter() - start)
                start = time.perf_counter()
                for axis in range(3):
                    plane = tuple(n for number, n in enumerate(volume.shape[1:]) if number != axis)
                    slices = SliceInferer(roi_size=plane, sw_batch_size=16, spatial_dim=axis)
                    slices(volume[None], lambda x, axis=axis: self.network.slices(x, axis).softmax(1))
                    if axis:
                        slices(volume.flip(1)[None], lambda x, axis=axis: self.network.slices(x, axis).softmax(1))
                other.append(time.perf_counter() - start)
        return min(own), min(other)


def _mean(values: Sequence[float]) -> float | None:
    return round(float(np.mean(values)), 4) if len(values) else None
