"""Evaluation of label-to-image synthesis on phantom slices whose labels are exact (arXiv 2209.08256).

Each figure stands beside its controls: shuffled requests and styles, a painter that gives each class one intensity with
noise, the style image itself in place of a painted one, and the phantom's own image as the ceiling.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from synthzoo.datasets.brain.label_slices import PaintedSlices
from synthzoo.evaluation.base import Evaluation, Found
from synthzoo.evaluation.baselines import MonaiSampler
from synthzoo.evaluation.pictures import new_figure, save_figure
from synthzoo.inferers.label_to_image import LabelToImageInferer, cleaned
from synthzoo.metrics.agreement import conditioning
from synthzoo.metrics.memorisation import memorisation
from synthzoo.phantoms.brain.label_maps import CLASSES, LESIONS
from synthzoo.phantoms.brain.label_pool import MEASURED, load_label_pool
from synthzoo.phantoms.brain.painting import CONTRASTS, draw_scan, paint_maps
from synthzoo.systems.brainspade.downstream import segment, summary, train_segmenter
from synthzoo.systems.brainspade.scores import (
    TISSUES,
    class_statistics,
    dice_by_class,
    fitted_means,
    mean_painter,
    resegmentation_dice,
    rows_of,
    tissue_means,
)

BATCH = 16
LEAST_ML = 0.02  # of a lesion in a slice: less is absent
COMPARED = 120  # subjects of training, and as many unseen ones, among which nearest neighbours are sought
HELD_OUT = "PD"  # the contrast that no painter and no segmenter is trained on with labels
STYLES = ("T1w", "T1Gd", "T2w", "FLAIR", HELD_OUT)
LABELLED = ("T1w", "T2w", "FLAIR")  # contrasts of the real pairs
TISSUE_CLASSES = ("CSF", "ventricle", "GM", "WM", "deep_GM")


class BrainSpadeEvaluation(Evaluation):
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
        shared: see `Evaluation`.
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
        settings: dict[str, Any] = {
            "count": count,
            "subjects": subjects,
            "train_size": train_size,
            "slices": slices,
            "pairs": pairs,
        }
        settings |= {"iterations": iterations, "seed": seed, "steps": inferer.steps, "guidance": inferer.guidance}
        super().__init__(inferer=inferer, settings=settings, **shared)
        self.count, self.subjects, self.pairs = int(count), int(subjects), int(pairs)
        self.training: dict[str, Any] = {"subjects": int(train_size), "slices": int(slices), "cache_dir": cache_dir}
        self.iterations, self.figure, self.seed = int(iterations), figure, int(seed)

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

    @torch.inference_mode()
    def generate(self, conditions: np.ndarray, salt: int) -> torch.Tensor:
        """Label maps float16 (N, K, h, w) for conditions (N, 7), NaN where left out."""
        found = []
        noise = torch.Generator().manual_seed(self.seed * 1000 + salt)
        for part in torch.as_tensor(conditions, dtype=torch.float32).split(BATCH):
            start = torch.randn(len(part), *self.network.latent_shape, generator=noise)
            maps = self.inferer.sample(start.to(self.device), self.network, part.to(self.device))
            found.append(cleaned(maps).cpu().half())
        return torch.cat(found)

    @torch.inference_mode()
    def painted(self, maps: np.ndarray, styles: np.ndarray) -> np.ndarray:
        """Images (N, h, w) painted on label maps (N, K, h, w) in the styles of slices (N, h, w)."""
        found, painter = [], self.network.painter
        for first in range(0, len(maps), BATCH):
            part = slice(first, first + BATCH)
            style = torch.as_tensor(styles[part], dtype=torch.float32)[:, None].to(self.device)
            shown = torch.as_tensor(maps[part]).float().to(self.device)
            found.append(painter(shown, painter.style(style)[0])[:, 0].clamp(0, 1).cpu().numpy())
        return np.concatenate(found)

    @cached_property
    def generated(self) -> torch.Tensor:
        """Label maps generated for the conditions of `truth`."""
        return self.cached("generated", lambda: {"maps": self.generate(self.truth[1], 2)})["maps"]

    # --- labels ------------------------------------------------------------------------------------------------------

    @torch.inference_mode()
    def autoencoder(self) -> Found:
        """Dice of the arg-max of test slices through the autoencoder."""
        maps, found = torch.from_numpy(self.truth[0]), Found()
        back = torch.cat([self.network.autoencoder(part.to(self.device)).cpu() for part in maps.split(BATCH)])
        numbers = range(1, len(CLASSES))
        dice = dice_by_class(back.argmax(1).numpy(), maps.argmax(1).numpy(), numbers)
        found.add(f"Label maps through the autoencoder, {len(maps)} test slices", ["class", "Dice"], rows_of(dice))
        found.figures = {
            "autoencoder_dice": round(summary(dice, TISSUE_CLASSES), 4),
            "autoencoder_dice_lesions": round(summary(dice, LESIONS), 4),
            "autoencoder_dice_lowest": round(float(np.nanmin(list(dice.values()))), 4),
        }
        return found

    def loads(self) -> Found:
        """Requested volumes against those in the generated label maps, and the height that was requested."""
        requested, maps, found, rows = self.truth[1], self.generated.float(), Found(), []
        measured = {name: values.numpy() for name, values in self.inferer.volumes(maps).items()}
        for number, name in enumerate(MEASURED):
            asked, got = requested[:, number], measured[name]
            one, present = conditioning(asked, got, self.seed), asked > LEAST_ML
            absent = float((got[~present] < 10 * LEAST_ML).mean()) if (~present).any() else None
            alone = conditioning(asked[present], got[present], self.seed)["r"] if present.sum() >= 8 else None
            rows.append([name, one["r"], one["slope"], one["mae"], one["shuffled"]["r"], int(present.sum()), alone])
            rows[-1].append(None if absent is None else round(absent, 3))
            short = name.removesuffix("_ml").lower()
            found.figures |= {f"{short}_r": one["r"], f"{short}_r_shuffled": one["shuffled"]["r"]}
            if absent is not None:
                found.figures[f"{short}_kept_absent"] = round(absent, 4)
        lesions = [f"{name.lower()}_r" for name in LESIONS]
        found.figures["lesion_r_lowest"] = min(found.figures[name] for name in lesions)
        columns = ["mL of the slice", "r", "slope", "mean absolute error", "r shuffled", "requests above 0"]
        columns += ["r of these", "share of requests of 0 that stayed below .2 mL"]
        title = f"Requested against generated volumes, {len(requested)} requests as test slices have them"
        found.add(title, columns, rows)
        return found

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

    def painting(self) -> Found:
        """Dice of labels with the re-segmentation, by the nearest mean, of what was painted on them."""
        found, rows, ceiling = Found(), [], {}
        for contrast in STYLES:
            maps, own, other, style = self.styled(contrast, 3, self.count // 4)
            images = {"phantom (ceiling)": own, "painted": self.painted(maps, style)}
            shortcut = [
                mean_painter(m, *class_statistics(s, o), n) for n, (m, o, s) in enumerate(zip(maps, other, style))
            ]
            images |= {"one intensity a class": np.stack(shortcut), "style slice itself (floor)": style}
            means = [fitted_means(image, m) for image, m in zip(style, other)]
            scores = {
                name: np.nanmean([resegmentation_dice(i, m, mean) for i, m, mean in zip(stack, maps, means)]).item()
                for name, stack in images.items()
            }
            error = float(np.abs(images["painted"] - own)[maps[:, 0] < 0.5].mean())
            plain = float(np.abs(images["one intensity a class"] - own)[maps[:, 0] < 0.5].mean())
            rows.append([contrast, *(round(score, 3) for score in scores.values()), round(error, 4), round(plain, 4)])
            found.figures |= {f"reseg_dice_{contrast}": round(scores["painted"], 4), f"painted_mae_{contrast}": error}
            ceiling[contrast] = scores["phantom (ceiling)"]
        columns = ["contrast", *images, "error painted", "error one intensity a class"]
        title = "Re-segmentation by the nearest tissue mean of another subject's slice of the same scan: Dice with the "
        found.add(title + "labels painted on; mean absolute error to the phantom's own image", columns, rows)
        clear = ("T1w", "T2w")  # in which all three tissues stand apart
        reached = [found.figures[f"reseg_dice_{contrast}"] for contrast in clear]
        found.figures["reseg_dice"] = round(sum(reached) / len(clear), 4)
        found.figures["reseg_dice_phantom"] = round(sum(ceiling[contrast] for contrast in clear) / len(clear), 4)
        return found

    def style(self) -> Found:
        """Means by tissue in the painted image against those in the style slice of another subject."""
        found, rows, every = Found(), [], []
        for contrast in STYLES:
            maps, _, other, style = self.styled(contrast, 4, self.count // 4)
            painted = self.painted(maps, style)
            pairs = np.array(
                [(tissue_means(s, o), tissue_means(i, m)) for s, o, i, m in zip(style, other, painted, maps)]
            )
            wanted, got = (pairs[:, k].ravel() for k in range(2))
            known = np.isfinite(wanted) & np.isfinite(got)
            one = conditioning(wanted[known], got[known], self.seed)
            every.append((wanted[known], got[known]))
            each = []
            for tissue in range(len(TISSUES)):
                both = pairs[:, :, tissue][np.isfinite(pairs[:, :, tissue]).all(1)]
                each.append(conditioning(both[:, 0], both[:, 1], self.seed)["r"] if len(both) >= 3 else None)
            rows.append([contrast, one["r"], one["slope"], one["mae"], one["shuffled"]["r"], *each])
            found.figures[f"style_r_{contrast}"] = one["r"]
        all_wanted, all_got = (np.concatenate(part) for part in zip(*every))
        whole = conditioning(all_wanted, all_got, self.seed)
        rows.append(["all", whole["r"], whole["slope"], whole["mae"], whole["shuffled"]["r"], *[None] * len(TISSUES)])
        found.figures |= {"style_r": whole["r"], "style_r_shuffled": whole["shuffled"]["r"]}
        columns = ["contrast", "r", "slope", "mean absolute error", "r shuffled", *(f"r {name}" for name in TISSUES)]
        title = f"Tissue means of painted images against those of the style slice, of another subject; {HELD_OUT} is a "
        found.add(title + "contrast that the painter was never trained on", columns, rows)
        return found

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
            name: train_segmenter(images, labels, self.iterations, seed=self.seed)
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
        found = Found()
        one = memorisation(flat(self.generated.numpy()), train, flat(self.truth[0]), unseen)
        found.figures = {"memorisation": one["verdict"], "nearest_ratio": one["generated_q_median"]}
        found.figures |= {"nearest_min": one["generated_min"], "nearest_min_held_out": one["held_out_min"]}
        rows = [
            [kind, *(one[f"{kind}_{key}"] for key in ("median", "min", "q_median", "q_min"))]
            for kind in ("generated", "held_out")
        ]
        title = (
            f"Distance of label maps to the nearest of {len(train)} training maps, and q, that over the distance to "
        )
        found.add(
            title + "the nearest of as many unseen ones", ["maps", "median", "smallest", "median q", "smallest q"], rows
        )
        return found

    def speed(self) -> Found:
        """Seconds of sampling and of painting a slice, and of MONAI's own inferer with the same weights."""
        conditions = torch.as_tensor(self.truth[1][:BATCH], dtype=torch.float32)
        noise = torch.randn(len(conditions), *self.network.latent_shape, generator=torch.Generator().manual_seed(0))
        plain = MonaiSampler(self.network, self.inferer.steps)
        times: dict[str, list[float]] = {"sampling": [], "painting": [], "MONAI's inferer, unguided": []}
        for _ in range(3):
            for name, run in {
                "sampling": lambda: self.inferer.sample(noise, self.network, conditions),
                "painting": lambda: self.painted(self.truth[0][:BATCH], self.truth[0][:BATCH, 4]),
                "MONAI's inferer, unguided": lambda: plain(noise, None, conditions),
            }.items():
                began = time.process_time()
                with torch.inference_mode():
                    run()
                times[name].append((time.process_time() - began) / len(conditions))
        found = Found(figures={"seconds_per_label_map": round(min(times["sampling"]), 4)})
        found.figures |= {"seconds_per_image": round(min(times["painting"]), 4)}
        rows = [[name, round(min(values), 4)] for name, values in times.items()]
        found.add(
            f"Processor seconds a slice, batches of {BATCH}, {self.inferer.steps} steps", ["what", "seconds"], rows
        )
        return found

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
