"""Evaluation of lesions placed into scans and healed out of them, on whole phantoms whose healthy anatomy is known.

Healing: a lesion with its mass effect is painted over a healthy scan, so that what it hides is known to the voxel. The
result stands beside what needs no knowledge of brains: biharmonic inpainting (scikit-image), the plain mirror image,
the mean of the surroundings. Placing: the segmenter's Dice on lesions that were placed into healthy scans beside its
Dice on the phantoms' own lesions of the same kinds and volumes; deceived it is where both are alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy import ndimage as ndi
from tqdm import tqdm

from synthzoo.evaluation.base import Evaluation, Found
from synthzoo.evaluation.fillings import biharmonic, by_other_side, by_surroundings
from synthzoo.phantoms.brain.pathology.lesion import Growth, Lesion
from synthzoo.phantoms.brain.pathology.pool import sick_subject
from synthzoo.phantoms.brain.pathology.scans import TISSUES, sick_scan
from synthzoo.phantoms.brain.pathology.subject import SickBrain, sicken
from synthzoo.phantoms.brain.pool import SPACING_MM, anatomy_maps
from synthzoo.systems.brainspade3d.healing import heal
from synthzoo.systems.brainspade3d.lesion_placing import USUAL, paint_lesion, place_lesion
from synthzoo.systems.brainspade3d.segmenter import BrainSegmenter, scan_channels
from synthzoo.systems.brainspade3d.segmenter_calibration import LEAST_ML, VOXEL_ML, dice

FIRST_SEED = 700_000
CONTRASTS = ("FLAIR", "T1Gd", "T1w", "T2w")
AFFINE = np.diag([SPACING_MM] * 3 + [1.0])
MOST_BIHARMONIC = 4000  # voxels that a biharmonic equation is solved for; more take minutes
GRAIN_VOXELS = 1.0
UNIT, ZERO = 100.0, 5.0  # intensity of a z-score, and the z-score at intensity 0
SIZES = {"tumour": (8.0, 30.0, 90.0), "stroke": (10.0, 40.0), "WMH": (10.0,), "resection": (20.0,)}


class Phantom(NamedTuple):
    """A painted volume: intensities float32 (D, H, W), 0 outside, and labels uint8 by `LABELS`."""

    image: np.ndarray
    labels: np.ndarray


def phantom_scan(brain: SickBrain, seed: int, contrast: str) -> Phantom:
    """A whole phantom in positive intensities."""
    scan = sick_scan(brain, np.random.RandomState(seed), contrast, cut=0.0, recasts=False)
    return Phantom(np.where(scan.mask, UNIT * (scan.image + ZERO), 0).astype(np.float32), scan.labels)


class LesionEvaluation(Evaluation):
    """Error of healed regions, what the segmenter says of them, and its Dice on placed and on true lesions.

    Args:
        network: trained `BrainSegmenter` with its threshold.
        report, work_dir, parts: see `Evaluation`.
        subjects: sick subjects that are healed, in each contrast.
        placed: subjects that lesions are placed into, for each kind and volume and in each contrast.
        contrasts: those that are shown.
        first_seed: of the subjects.
    """

    PARTS = ("healing", "placing")

    def __init__(
        self,
        network: BrainSegmenter,
        subjects: int = 6,
        placed: int = 1,
        contrasts: Sequence[str] = CONTRASTS,
        first_seed: int = FIRST_SEED,
        **shared: Any,
    ) -> None:
        self.subjects, self.placed, self.contrasts, self.first_seed = subjects, placed, tuple(contrasts), first_seed
        settings = {"subjects": subjects, "placed": placed, "contrasts": list(contrasts), "seed": first_seed}
        super().__init__(network, settings=settings, **shared)

    def labels_of(self, image: np.ndarray) -> np.ndarray:
        """What the network says of a phantom's intensities, by `LABELS`."""
        channels = torch.from_numpy(scan_channels(image, image > 0)).to(self.device)
        with torch.inference_mode():
            return self.network.decide(self.network.read(channels)).cpu().numpy() * (image > 0)

    def healing(self) -> Found:
        """Mean absolute error within the healed region in units of the brain's standard deviation."""
        found, rows = Found(), []
        small: dict[str, list[tuple[float, float]]] = {"healed": [], "biharmonic": []}
        for contrast in self.contrasts:
            errors: dict[str, list[tuple[float, float]]] = {"healed": [], "mirror": [], "surroundings": []}
            called: list[tuple[float, float, float]] = []
            seed = self.first_seed
            while len(called) < self.subjects:
                seed += 1
                brain = sick_subject(seed)
                if not LEAST_ML <= sum(brain.ml.values()) <= 150:
                    continue
                truth, sick, labels, mask, healed = healed_phantom(brain, seed, contrast)
                for name, image in {"healed": healed, **controls(sick, mask)}.items():
                    errors[name].append(both_errors(image, truth, mask))
                if mask.sum() <= MOST_BIHARMONIC:
                    small["healed"].append(errors["healed"][-1])
                    small["biharmonic"].append(both_errors(biharmonic(sick, mask, UNIT * 2 * ZERO), truth, mask))
                called.append((self._called(sick, mask), self._called(healed, mask), self._called(truth, mask)))
            means = {name: means_of(values) for name, values in errors.items()}
            before, after, never = (round(float(np.mean(values)), 4) for values in zip(*called))
            rows.append([contrast, *(f"{plain} ({smooth})" for plain, smooth in means.values()), before, after, never])
            key = contrast.lower()
            found.figures |= {f"{key}_{name}_mae": plain for name, (plain, _) in means.items()}
            found.figures |= {f"{key}_{name}_smooth_mae": smooth for name, (_, smooth) in means.items()}
            found.figures |= {f"{key}_called_sick": before, f"{key}_called_healed": after, f"{key}_called_never": never}
        columns = ["contrast", "healed", "mirror image", "mean around", "called: sick", "healed", "never sick"]
        title = "Healed regions: error (without grain), and the share that the segmenter calls lesion"
        found.add(title, columns, rows)
        if small["healed"]:
            pairs = [means_of(small[name]) for name in ("healed", "biharmonic")]
            for name, (plain, smooth) in zip(("healed", "biharmonic"), pairs):
                found.figures |= {f"small_{name}_mae": plain, f"small_{name}_smooth_mae": smooth}
            most = f"Regions of at most {MOST_BIHARMONIC * VOXEL_ML:g} mL: error (without grain)"
            said = [f"{plain} ({smooth})" for plain, smooth in pairs]
            found.add(most, ["regions", "healed", "biharmonic"], [[len(small["healed"]), *said]])
        return found

    def _called(self, image: np.ndarray, mask: np.ndarray) -> float:
        return float(((self.labels_of(image) >= len(TISSUES)) & mask).sum() / max(int(mask.sum()), 1))

    def placing(self) -> Found:
        """Dice on placed lesions and on the phantoms' own of the same kind and volume, in the same subjects."""
        found, rows = Found(), []
        for contrast in self.contrasts:
            pairs = []
            for kind, sizes in SIZES.items():
                scores = [
                    self._pair(kind, ml, self.first_seed + 1000 + number, contrast)
                    for ml in sizes
                    for number in tqdm(range(self.placed), desc=f"{contrast}, {kind} of {ml:g} mL")
                ]
                own, placed = (float(np.mean(values)) for values in zip(*scores))
                rows.append([contrast, kind, round(own, 4), round(placed, 4)])
                pairs += scores
            own, placed = (round(float(np.mean(values)), 4) for values in zip(*pairs))
            found.figures |= {f"{contrast.lower()}_own_dice": own, f"{contrast.lower()}_placed_dice": placed}
        found.add("The segmenter's Dice on lesions", ["contrast", "kind", "phantom's own", "placed"], rows)
        return found

    def _pair(self, kind: str, ml: float, seed: int, contrast: str) -> tuple[float, float]:
        lesion = Lesion(kind, {part: share * ml for part, share in USUAL[kind].items()}, Growth(rough=0.3))
        maps = anatomy_maps(2_000_000 + seed)
        own = phantom_scan(sicken(maps, [lesion], seed), seed, contrast)
        healthy = phantom_scan(sicken(maps, [], seed), seed, contrast)
        placed = place_lesion(healthy.image, healthy.labels, AFFINE, lesion, seed=seed, contrast=contrast)
        first = dice(self.labels_of(own.image) >= len(TISSUES), own.labels >= len(TISSUES))
        return first, dice(self.labels_of(placed.image) >= len(TISSUES), placed.labels > 0)


def healed_phantom(
    brain: SickBrain, seed: int, contrast: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """A subject as it would be without lesion but with its mass effect, with it, labels, mask, and healed.

    Args:
        brain: with lesions.
        seed: of the look.
        contrast: one of `CONTRASTS`.

    Returns:
        truth, sick (both float32), tissue labels uint8 with the lesion, mask bool of what was made again, healed image.
    """
    without = SickBrain(brain.maps, np.zeros_like(brain.parts), [], None, brain.spacing_mm)
    truth, tissue = phantom_scan(without, seed, contrast)
    parts = brain.labels() * (truth > 0)
    sick = paint_lesion(truth, parts, tissue, contrast, np.random.default_rng([seed, 84]))
    labels = np.where(parts > 0, parts + (len(TISSUES) - 1), tissue).astype(np.uint8)
    done = heal(sick, parts > 0, labels, AFFINE, AFFINE, truth.shape, seed=seed)
    return truth, sick, labels, done.mask > 0, done.image


def controls(sick: np.ndarray, mask: np.ndarray) -> dict[str, np.ndarray]:
    """The mark filled by the other side as it lies, and by the mean of the voxels around it."""
    return {"mirror": by_other_side(sick, mask), "surroundings": by_surroundings(sick, mask)}


def error(image: np.ndarray, truth: np.ndarray, mask: np.ndarray, sigma: float = 0.0) -> float:
    """Mean absolute error within a mask, in z-scores; with `sigma`, in voxels, of what is left without grain.

    A fill with noise of its own, as a scan has it, is farther from the truth by that noise than a smooth one.
    """
    inside = mask & (truth > 0)
    difference = np.where(inside, image - truth, 0)
    if sigma:
        weight = ndi.gaussian_filter(inside.astype(np.float32), sigma)
        difference = ndi.gaussian_filter(difference, sigma) / np.maximum(weight, 1e-3)
    return float(np.abs(difference)[inside].mean() / UNIT)


def both_errors(image: np.ndarray, truth: np.ndarray, mask: np.ndarray) -> tuple[float, float]:
    """`error` as it is and without grain."""
    return error(image, truth, mask), error(image, truth, mask, GRAIN_VOXELS)


def means_of(pairs: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Means of the first and of the second of each pair."""
    first, second = zip(*pairs)
    return round(float(np.mean(first)), 4), round(float(np.mean(second)), 4)
