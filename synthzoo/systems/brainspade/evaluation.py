"""Evaluation of label-to-image synthesis on phantom slices whose labels are exact (arXiv 2209.08256).

Each figure stands beside its controls: shuffled requests and styles, a painter that gives each class one intensity with
noise, the style image itself in place of a painted one, and the phantom's own image as the ceiling.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from synthzoo.datasets.brain.label_slices import PaintedSlices
from synthzoo.evaluation.base import Found
from synthzoo.evaluation.label_scores import class_statistics, dice_by_class, mean_painter, summary
from synthzoo.evaluation.label_segmenters import segment, train_segmenter
from synthzoo.evaluation.label_synthesis import HELD_OUT, STYLES, TISSUE_CLASSES, LabelSynthesisEvaluation
from synthzoo.evaluation.pictures import new_figure, save_figure
from synthzoo.inferers.label_to_image import LabelToImageInferer
from synthzoo.phantoms.brain.label_maps import CLASSES, LESIONS
from synthzoo.phantoms.brain.label_pool import load_label_pool
from synthzoo.phantoms.brain.painting import CONTRASTS, draw_scan, paint_maps
from synthzoo.systems.brainspade.network import small_unet

COMPARED = 120  # subjects of training, and as many unseen ones, among which nearest neighbours are sought
LABELLED = ("T1w", "T2w", "FLAIR")  # contrasts of the real pairs


class BrainSpadeEvaluation(LabelSynthesisEvaluation):
    """Figures of a `LabelToImage` of slices, and a picture.

    Args:
        inferer: that of the bundle.
        count: slices and requests of each part.
        subjects: of the test pool, 8 slices each.
        train_size, slices, cache_dir: of the training pool, as in training.
        pairs: of the training set of each segmenter.
        iterations: of each segmenter.
        figure: PNG; None draws nothing.
        seed: of requests, noise and styles.
        shared: see `LabelSynthesisEvaluation`.
    """

    PARTS = ("autoencoder", "loads", "painting", "style", "downstream", "memorisation", "speed")

    def __init__(
        self,
        inferer: LabelToImageInferer,
        count: int = 200,
        subjects: int = 60,
        train_size: int = 320,
        slices: int = 16,
        cache_dir: str | None = None,
        pairs: int = 1600,
        iterations: int = 900,
        figure: str | Path | None = None,
        seed: int = 0,
        **shared: Any,
    ) -> None:
        settings = {"subjects": subjects, "train_size": train_size, "slices": slices, "pairs": pairs}
        super().__init__(inferer, count, {**settings, "iterations": iterations}, seed, **shared)
        self.subjects, self.pairs = int(subjects), int(pairs)
        self.training: dict[str, Any] = {"subjects": int(train_size), "slices": int(slices), "cache_dir": cache_dir}
        self.iterations, self.figure = int(iterations), figure

    # --- what the parts share ----------------------------------------------------------------------------------------

    @cached_property
    def test(self) -> PaintedSlices:
        """Slices of test subjects."""
        pool = {"split": "test", "subjects": self.subjects, "slices": 8, "cache_dir": self.training["cache_dir"]}
        return PaintedSlices(STYLES, fixed=True, **pool)

    def rows(self, count: int, salt: int) -> list[int]:
        """Rows of the test pool, each at most once."""
        order = np.random.default_rng([self.seed, salt]).permutation(len(self.test))
        return order[: min(count, len(order))].tolist()

    @cached_property
    def truth(self) -> tuple[np.ndarray, np.ndarray]:
        """Label maps (N, K, h, w) of `count` test slices, and their conditions (N, 7)."""
        rows = self.rows(self.count, 1)
        known = np.stack([self.test.truth(row)["conditions"].numpy() for row in rows])
        return np.stack([self.test.pool.slice(row) for row in rows]), known

    # --- images ------------------------------------------------------------------------------------------------------

    def styled(self, contrast: str, salt: int, count: int) -> tuple[np.ndarray, ...]:
        """Label maps A (N, K, h, w) with their image under a scan, and slices B of other subjects under the same scan
        with their maps: (maps A, image A, maps B, image B)."""
        rng = np.random.default_rng([self.seed, salt, CONTRASTS.index(contrast)])
        rows, pool, found = self.rows(2 * count, salt), self.test.pool, []
        for one, two in zip(rows[::2], rows[1::2]):
            if one // pool.settings.slices == two // pool.settings.slices:
                continue
            scan, a, b = draw_scan(contrast, rng, float(pool.ages[two])), pool.slice(one), pool.slice(two)
            found.append((a, paint_maps(a, scan, rng).clip(0, 1), b, paint_maps(b, scan, rng).clip(0, 1)))
        return tuple(np.stack(parts) for parts in zip(*found))

    def floor(self, own: np.ndarray, style: np.ndarray) -> dict[str, np.ndarray]:
        """The style slice in place of a painted one."""
        return {"style slice itself (floor)": style}

    # --- use ---------------------------------------------------------------------------------------------------------

    def real_pairs(self, contrasts: Sequence[str], split: str, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Images (N, 1, h, w) and class numbers (N, h, w) of phantoms."""
        source: Any = self.test
        if split == "train":
            source = PaintedSlices(contrasts, fixed=True, split=split, **self.training)
        rng = np.random.default_rng([self.seed, 7, len(contrasts)])
        images, labels = [], []
        for row in rng.permutation(len(source))[:count].tolist():
            maps = source.pool.slice(row)
            scan = draw_scan(contrasts[int(rng.integers(len(contrasts)))], rng, float(source.pool.ages[row]))
            images.append(paint_maps(maps, scan, rng).clip(0, 1))
            labels.append(maps.argmax(0).astype(np.uint8))
        return torch.from_numpy(np.stack(images))[:, None].half(), torch.from_numpy(np.stack(labels))

    def synthetic_pairs(self) -> dict[str, torch.Tensor]:
        """Generated label maps, painted in the styles of unlabelled training images, by our painter and the shortcut.

        Requests are conditions of training slices; styles are of the labelled contrasts and the held-out one.
        """
        source = PaintedSlices(STYLES, fixed=True, split="train", **self.training)
        rng = np.random.default_rng([self.seed, 8])
        rows = rng.integers(len(source), size=self.pairs)
        maps = self.generate(np.stack([source.truth(int(row))["conditions"].numpy() for row in rows]), 9)
        styles, shortcut = [], []
        for number, row in enumerate(rng.integers(len(source), size=self.pairs)):
            contrast = (*LABELLED, HELD_OUT)[number % (len(LABELLED) + 1)]
            own = source.pool.slice(int(row))
            image = paint_maps(own, draw_scan(contrast, rng, float(source.pool.ages[row])), rng).clip(0, 1)
            styles.append(image)
            statistics = class_statistics(image, own)
            shortcut.append(mean_painter(maps[number].float().numpy(), *statistics, number))
        painted = self.painted(maps.numpy(), np.stack(styles))
        return {
            "labels": maps.argmax(1).to(torch.uint8),
            "painted": torch.from_numpy(painted)[:, None].half(),
            "shortcut": torch.from_numpy(np.stack(shortcut))[:, None].half(),
        }

    def downstream(self) -> Found:
        """Dice on real test slices of segmenters trained on real and on synthetic pairs."""
        made = self.cached("pairs", self.synthetic_pairs)
        sets = {
            "real pairs": self.real_pairs(LABELLED, "train", self.pairs),
            "synthetic pairs": (made["painted"], made["labels"]),
            "synthetic labels, one intensity a class": (made["shortcut"], made["labels"]),
        }
        networks = {
            name: train_segmenter(small_unet, images, labels, self.iterations, seed=self.seed)
            for name, (images, labels) in sets.items()
        }
        found, rows = Found(), []
        for name, network in networks.items():
            for group, contrasts in {"labelled contrasts": LABELLED, HELD_OUT: (HELD_OUT,)}.items():
                images, truth = self.real_pairs(contrasts, "test", 2 * self.count)
                dice = dice_by_class(segment(network, images), truth.numpy(), range(1, len(CLASSES)))
                tissues, lesions = summary(dice, TISSUE_CLASSES), summary(dice, LESIONS)
                rows.append([name, group, round(tissues, 3), round(lesions, 3)])
                rows[-1] += [None if np.isnan(score) else round(score, 3) for score in dice.values()]
                key = f"{name.split(',')[0].replace(' ', '_')}_{'held_out' if group == HELD_OUT else 'labelled'}"
                found.figures |= {f"{key}_tissues": round(tissues, 4), f"{key}_lesions": round(lesions, 4)}
        for place in ("labelled", "held_out"):
            for what in ("tissues", "lesions"):
                both = [found.figures[f"{kind}_pairs_{place}_{what}"] for kind in ("synthetic", "real")]
                found.figures[f"ratio_{place}_{what}"] = round(both[0] / max(both[1], 1e-6), 4)
        title = f"Dice on real (phantom) test slices of U-Nets trained on {self.pairs} pairs each; {HELD_OUT} has no "
        title += "labelled pair anywhere: its images served as styles alone"
        found.add(title, ["trained on", "tested on", "tissues", "lesions", *CLASSES[1:]], rows)
        return found

    def memorisation(self) -> Found:
        """Distances of generated label maps to their nearest training maps and to as many of unseen subjects."""
        levels = np.linspace(0, 1, len(CLASSES))

        def flat(maps: np.ndarray) -> np.ndarray:
            return np.stack([np.tensordot(levels, one[:, ::2, ::2].astype(np.float32), 1) for one in maps])[:, None]

        size, folder = (min(self.training["subjects"], COMPARED), self.training["slices"]), self.training["cache_dir"]
        train, unseen = (flat(load_label_pool(split, *size, folder).maps) for split in ("train", "validation"))
        return self.compared(train, unseen, flat)

    def draw(self, found: Mapping[str, Found]) -> None:
        """Rows of generated labels in four styles, beside a phantom."""
        if self.figure is None:
            return
        maps = self.generated[:6].numpy()
        figure = new_figure(9.0, 7.5)
        for column, contrast in enumerate(STYLES[:4]):
            style = self.styled(contrast, 11, 8)[3][:6]
            for row, image in enumerate(self.painted(maps[: len(style)], style)):
                axis = figure.add_subplot(6, 6, 6 * row + column + 1)
                axis.imshow(image, cmap="gray", vmin=0, vmax=1)
                axis.set_title(contrast if row == 0 else "", fontsize=8)
                axis.axis("off")
        for row in range(len(maps)):
            for column, (picture, name) in enumerate(
                [(maps[row].argmax(0), "generated labels"), (self.truth[0][row].argmax(0), "phantom's labels")]
            ):
                axis = figure.add_subplot(6, 6, 6 * row + column + 5)
                axis.imshow(picture, cmap="nipy_spectral", vmin=0, vmax=len(CLASSES) - 1, interpolation="nearest")
                axis.set_title(name if row == 0 else "", fontsize=8)
                axis.axis("off")
        save_figure(figure, self.figure, pad=0.3)
