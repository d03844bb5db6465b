"""Evaluation of label-to-image synthesis of volumes on phantoms whose labels are exact (arXiv 2311.04552).

Beside what slices are measured by: how alike neighbouring slices are, and the paper's claim, that several pathologies
in the training data keep a segmenter from confusing one that it was not to find with the one that it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property, partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from monai.metrics import SSIMMetric

from synthzoo.datasets.brain.label_volumes import PaintedVolumes, axial_slice
from synthzoo.errors import UserError
from synthzoo.evaluation.base import Found
from synthzoo.evaluation.label_scores import dice_by_class
from synthzoo.evaluation.label_segmenters import segment, train_segmenter
from synthzoo.evaluation.label_synthesis import STYLES, LabelSynthesisEvaluation
from synthzoo.evaluation.pictures import new_figure, save_figure
from synthzoo.inferers.label_to_image import LabelToImageInferer
from synthzoo.phantoms.brain.label_maps import CLASSES
from synthzoo.phantoms.brain.label_pool import MEASURED, as_picture
from synthzoo.phantoms.brain.label_volumes import LabelVolumePool, as_shares
from synthzoo.phantoms.brain.painting import CONTRASTS, draw_scan, paint_maps
from synthzoo.systems.brainspade3d.network import tumour_unet

COMPARED = 96  # subjects of training, and as many unseen ones, among which nearest neighbours are sought
EVERY = 4  # voxels an axis of that comparison
TUMOUR = ("core", "enhancing", "oedema")
UNEXPECTED = ("WMH", "stroke")
CLAIMED_IN = "FLAIR"  # in which oedema, white matter disease and stroke look alike
SLICES = 14  # of each volume that a segmenter is trained on, or tested on
SETS = {"tumours alone": (), "several pathologies": UNEXPECTED}


class BrainSpade3dEvaluation(LabelSynthesisEvaluation):
    """Figures of a `LabelToImage` of volumes, and a picture.

    Args:
        inferer: that of the bundle.
        count: volumes and requests of each part.
        subjects: of the test pool.
        volumes: of the training set of each segmenter.
        train_size, cache_dir: of the training pool, as in training.
        iterations: of each segmenter.
        figure: PNG; None draws nothing.
        seed: of requests, noise and styles.
        shared: see `LabelSynthesisEvaluation`.
    """

    PARTS = ("autoencoder", "loads", "painting", "style", "neighbours", "confusion", "memorisation", "speed")
    BATCH: ClassVar[int] = 1
    KIND: ClassVar[str] = "volumes"
    LEAST_ML: ClassVar[float] = 0.1
    EACH: ClassVar[int] = 6

    def __init__(
        self,
        inferer: LabelToImageInferer,
        count: int = 48,
        subjects: int = 48,
        volumes: int = 24,
        train_size: int = 320,
        cache_dir: str | None = None,
        iterations: int = 400,
        figure: str | Path | None = None,
        seed: int = 0,
        **shared: Any,
    ) -> None:
        settings = {"subjects": subjects, "volumes": volumes, "train_size": train_size, "iterations": iterations}
        super().__init__(inferer, count, settings, seed, **shared)
        self.subjects, self.volumes, self.train_size = int(subjects), int(volumes), int(train_size)
        self.cache_dir, self.iterations, self.figure = cache_dir, int(iterations), figure

    # --- phantoms ----------------------------------------------------------------------------------------------------

    @cached_property
    def test(self) -> PaintedVolumes:
        """Volumes of test subjects."""
        pool = {"split": "test", "subjects": self.subjects, "cache_dir": self.cache_dir, "mirror": False}
        return PaintedVolumes(STYLES, fixed=True, **pool)

    @cached_property
    def truth(self) -> tuple[np.ndarray, np.ndarray]:
        """Label maps float16 (N, K, X, Y, Z) of `count` test subjects, and their conditions (N, 6)."""
        rows = range(min(self.count, len(self.test)))
        known = np.stack([self.test.truth(row)["conditions"].numpy() for row in rows])
        return np.stack([as_shares(self.test.pool[row].maps).astype(np.float16) for row in rows]), known

    def styled(self, contrast: str, salt: int, count: int) -> tuple[np.ndarray, ...]:
        """Volumes of test subjects and axial slices of others; see `LabelSynthesisEvaluation.styled`."""
        rng = np.random.default_rng([self.seed, salt, CONTRASTS.index(contrast)])
        order, found = rng.permutation(len(self.test)), []
        for one, two in list(zip(order, np.roll(order, 1)))[: max(count, 4)]:
            subject, other = self.test.pool[int(one)], self.test.pool[int(two)]
            scan, a, b = draw_scan(contrast, rng, other.age), as_shares(subject.maps), axial_slice(other, rng)
            found.append((a, paint_maps(a, scan, rng).clip(0, 1), b, paint_maps(b, scan, rng).clip(0, 1)))
        return tuple(np.stack(parts) for parts in zip(*found))

    def floor(self, own: np.ndarray, style: np.ndarray) -> dict[str, np.ndarray]:
        """The phantom's image of another head."""
        return {"another head (floor)": np.roll(own, 1, 0)}

    # --- images ------------------------------------------------------------------------------------------------------

    def neighbours(self) -> Found:
        """Structural similarity of neighbouring axial slices of painted volumes and of phantoms."""
        found, rows = Found(), []
        for contrast in STYLES[:4]:
            maps, own, _, style = self.styled(contrast, 5, self.count // (2 * self.EACH))
            scores = {"painted": slice_similarity(self.painted(maps, style)), "phantoms": slice_similarity(own)}
            rows.append([contrast, *(round(score, 4) for score in scores.values())])
        means = np.array([row[1:] for row in rows]).mean(0)
        found.figures = {"slice_ssim": round(float(means[0]), 4), "slice_ssim_phantoms": round(float(means[1]), 4)}
        found.figures["slice_ssim_off"] = round(float(abs(means[0] - means[1])), 4)
        found.add("SSIM between neighbouring axial slices", ["contrast", "painted", "phantoms"], rows)
        return found

    # --- the claim ---------------------------------------------------------------------------------------------------

    def requests(self, kept: tuple[str, ...]) -> np.ndarray:
        """Conditions (N, 6) of training subjects with tumours, of the unexpected lesions only those that are `kept`."""
        pool, rng = LabelVolumePool("train", self.train_size, self.cache_dir), np.random.default_rng([self.seed, 8])
        known = np.array(
            [[pool[row].volumes()[name.removesuffix("_ml")] for name in MEASURED] for row in range(len(pool))]
        )
        with_tumour = np.flatnonzero(known[:, [MEASURED.index(f"{name}_ml") for name in TUMOUR]].sum(1) > 5)
        if not len(with_tumour):
            raise UserError(f"train_size = {self.train_size}: no such subject has a tumour; the claim needs more.")
        chosen = known[rng.choice(with_tumour, self.volumes, len(with_tumour) < self.volumes)]
        for name in UNEXPECTED:
            # Each lesion beside the tumour in half of the volumes, so that neither is learned as its companion.
            column = known[:, MEASURED.index(f"{name}_ml")]
            there = column[column > 1]
            drawn = rng.choice(there, self.volumes) * (rng.random(self.volumes) < 0.6) if len(there) else 0.0
            chosen[:, MEASURED.index(f"{name}_ml")] = drawn if name in kept else 0.0
        return chosen.astype(np.float32)

    def synthetic_slices(self, kept: tuple[str, ...], salt: int) -> dict[str, torch.Tensor]:
        """Slices painted as `CLAIMED_IN` on generated label maps, float16 (N, 1, h, w), and their class numbers."""
        maps = self.generate(self.requests(kept), salt).numpy()
        rng, images, labels = np.random.default_rng([self.seed, salt]), [], []
        for number, one in enumerate(maps):
            subject = self.test.pool[number % len(self.test)]  # its contrast serves as a style, its labels for nothing
            style = paint_maps(axial_slice(subject, rng), draw_scan(CLAIMED_IN, rng, subject.age), rng).clip(0, 1)
            painted = self.painted(one[None].astype(np.float32), style[None])[0]
            levels = lesion_levels(one.argmax(0), SLICES, rng)
            images += [as_picture(painted[..., level]) for level in levels]
            labels += [as_picture(one.argmax(0)[..., level]).astype(np.uint8) for level in levels]
        return {
            "images": torch.from_numpy(np.stack(images))[:, None].half(),
            "labels": torch.from_numpy(np.stack(labels)),
        }

    def test_slices(self) -> tuple[torch.Tensor, np.ndarray]:
        """Slices of test phantoms with unexpected lesions and, in some, a tumour: images and class numbers."""
        rng, images, labels = np.random.default_rng([self.seed, 9]), [], []
        for row in range(len(self.test.pool)):
            subject = self.test.pool[row]
            volumes = subject.volumes()
            if max(volumes[name] for name in UNEXPECTED) < 1:
                continue
            scan, numbers = draw_scan(CLAIMED_IN, rng, subject.age), np.asarray(subject.maps).argmax(0)
            for level in lesion_levels(numbers, SLICES, rng):
                plane = as_picture(as_shares(subject.maps[..., level]))
                images.append(paint_maps(plane, scan, rng).clip(0, 1))
                labels.append(as_picture(numbers[..., level]))
        if not images:
            raise UserError(
                f"subjects = {self.subjects}: none has white matter disease or stroke; the claim needs more."
            )
        return torch.from_numpy(np.stack(images))[:, None].half(), np.stack(labels)

    def confusion(self) -> Found:
        """How much of an unexpected lesion is called tumour by segmenters trained on synthetic pairs alone."""
        images, truth = self.test_slices()
        wanted = np.isin(truth, [CLASSES.index(name) for name in TUMOUR])
        strange = np.isin(truth, [CLASSES.index(name) for name in UNEXPECTED])
        found, rows = Found(), []
        for number, (name, kept) in enumerate(SETS.items()):
            made = self.cached(f"slices_{number}", partial(self.synthetic_slices, kept, 20 + number))
            network = train_segmenter(tumour_unet, made["images"], made["labels"], self.iterations, seed=self.seed)
            got = np.isin(segment(network, images), [CLASSES.index(part) for part in TUMOUR])
            called, beyond = float(got[strange].mean()), float((got & ~wanted & ~strange).mean())
            dice = dice_by_class(got.astype(int), wanted.astype(int), [1])[1]
            rows.append([name, len(made["images"]), round(called, 4), round(beyond, 4), round(dice, 4)])
            key = ("single", "several")[number]
            found.figures |= {f"confused_{key}": round(called, 4), f"tumour_dice_{key}": round(dice, 4)}
        ratio = found.figures["confused_several"] / max(found.figures["confused_single"], 1e-6)
        found.figures["confusion_ratio"] = round(ratio, 4)
        # Who calls nothing tumour confuses nothing: the tumours must be found as well.
        ratio = found.figures["tumour_dice_several"] / max(found.figures["tumour_dice_single"], 1e-6)
        found.figures["tumour_dice_ratio"] = round(ratio, 4)
        columns = ["trained on synthetic", "slices", "share of unexpected lesions called tumour"]
        columns += ["share of the rest called tumour", "tumour, Dice"]
        title = f"{len(images)} {CLAIMED_IN} slices of test phantoms with white matter disease or stroke, read by "
        found.add(title + "segmenters of tumours that were trained on synthetic pairs alone", columns, rows)
        return found

    # --- copies ------------------------------------------------------------------------------------------------------

    def memorisation(self) -> Found:
        """Distances of generated label maps to their nearest training maps, mirrored or not, and to unseen ones."""
        levels = np.linspace(0, 1, len(CLASSES)).astype(np.float32)

        def flat(maps: Any) -> np.ndarray:
            coarse = (one[:, ::EVERY, ::EVERY, ::EVERY] for one in maps)
            return np.stack([np.tensordot(levels, np.asarray(one, np.float32), 1) for one in coarse])[:, None]

        def rows(split: str) -> np.ndarray:
            pool = LabelVolumePool(split, min(self.train_size, COMPARED), self.cache_dir)
            one = flat(as_shares(pool[row].maps) for row in range(len(pool)))
            return np.concatenate([one, one[:, :, ::-1]])

        return self.compared(rows("train"), rows("validation"), flat)

    # --- picture -----------------------------------------------------------------------------------------------------

    def draw(self, found: Mapping[str, Found]) -> None:
        """Three planes of generated label maps, and the middle one in four styles, beside a phantom."""
        if self.figure is None:
            return
        maps = self.generated[:4].float().numpy()
        painted = [self.painted(maps, np.stack([self.styled(name, 11, 2)[3][0]] * len(maps))) for name in STYLES[:4]]
        figure = new_figure(10.0, 6.0)
        for row, one in enumerate(maps):
            level = int(
                np.bincount(np.argwhere(np.isin(one.argmax(0), range(6, len(CLASSES))))[:, 2], minlength=1).argmax()
            )
            level = level or one.shape[-1] // 2
            panels = [(as_picture(image[row][..., level]), name) for image, name in zip(painted, STYLES)]
            panels += [(as_picture(one.argmax(0)[..., level]), "generated labels")]
            panels += [(as_picture(one.argmax(0)[one.shape[1] // 2]), "sagittal")]
            panels += [(as_picture(self.truth[0][row].argmax(0)[..., level]), "phantom's labels")]
            for column, (picture, name) in enumerate(panels):
                axis = figure.add_subplot(len(maps), len(panels), len(panels) * row + column + 1)
                style = (
                    {"cmap": "gray", "vmax": 1} if column < 4 else {"cmap": "nipy_spectral", "vmax": len(CLASSES) - 1}
                )
                axis.imshow(picture, vmin=0, interpolation="nearest", **style)
                axis.set_title(name if row == 0 else "", fontsize=8)
                axis.axis("off")
        save_figure(figure, self.figure, pad=0.3)


def slice_similarity(volumes: np.ndarray) -> float:
    """Mean SSIM of neighbouring axial slices, of volumes (N, X, Y, Z) in [0, 1], where both show a brain."""
    scores = []
    for volume in volumes:
        slices = torch.from_numpy(np.ascontiguousarray(np.moveaxis(volume, -1, 0)))[:, None].float()
        filled = (slices > 0).flatten(1).float().mean(1) > 0.1
        both = filled[1:] & filled[:-1]
        scores.append(SSIMMetric(2, data_range=1.0)(slices[1:][both], slices[:-1][both]).mean())
    return float(torch.stack(scores).mean())


def lesion_levels(numbers: np.ndarray, count: int, rng: np.random.Generator) -> list[int]:
    """Axial slices of class numbers (X, Y, Z) with brain: half of them through lesions, where there are so many."""
    brain = np.flatnonzero((numbers > 0).sum((0, 1)) > 300)
    sick = np.intersect1d(brain, np.flatnonzero((numbers >= CLASSES.index("WMH")).sum((0, 1)) > 5))
    some = rng.choice(sick, min(len(sick), count // 2), replace=False) if len(sick) else np.array([], int)
    others = np.setdiff1d(brain, some)
    return [int(level) for level in (*some, *rng.choice(others, min(len(others), count - len(some)), replace=False))]
