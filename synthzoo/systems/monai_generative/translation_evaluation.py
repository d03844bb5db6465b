"""Evaluation of the translation of contrasts on phantoms whose target is known (arXiv 2307.15208, section 3.3).

Each figure stands beside its controls: the source itself, a table of intensities, a plain regression U-Net, another
slice's translation, and the target through the autoencoder, above which nothing can come.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from synthzoo.evaluation.base import Evaluation, Found
from synthzoo.evaluation.pictures import new_figure, save_figure
from synthzoo.metrics.agreement import agreement
from synthzoo.phantoms.brain.label_maps import CLASSES
from synthzoo.phantoms.brain.label_volumes import as_shares
from synthzoo.systems.monai_generative.translation_dataset import ContrastPairs
from synthzoo.systems.monai_generative.translation_inferer import TranslationInferer
from synthzoo.systems.monai_generative.translation_phantoms import (
    AUTO,
    LEAST_BRAIN,
    SOURCES,
    TARGETS,
    draw_occult,
    painted,
    relaxation_of,
    source_scan,
    target_scan,
)
from synthzoo.systems.monai_generative.translation_scores import (
    FEWEST,
    HELD,
    IntensityTable,
    fidelity,
    lesion_contrasts,
    roughness,
)
from synthzoo.transforms.head_grid import grid_shape

PAIRS = tuple((source, target) for target in TARGETS for source in SOURCES if source != target)
PUBLISHED = ("FLAIR", "T1w")
STEPS = (2, 4, 8, 16, 32)
SCORES = ["PSNR", "SSIM", "MAE", "sharpness"]
COPIES = 4
ALONE, MEAN = "diffusion model alone", f"ControlNet, mean of {COPIES}"
SHARP_ENOUGH = 0.7  # mean squared slope over the target's: of the steps that keep it, those of most PSNR are taken
LESION_PAIRS = (("FLAIR", "T1w"), ("T2w", "T1w"), ("T1w", "FLAIR"), ("T2w", "FLAIR"))
NAMES = ("WMH", "core", "oedema", "stroke")
FEWEST_LESIONS = 5
MEASURED = {"ControlNet": "controlnet", "U-Net": "unet", "intensity table": "table", "source": "copy"}  # of lesions


class TranslationEvaluation(Evaluation):
    """Figures of a `SliceTranslator`, and a picture.

    Args:
        inferer: that of the bundle.
        count: slices of each pair of contrasts.
        subjects: of the test pool, and of the validation pool.
        slices: of each subject.
        volumes: whole heads.
        cache_dir: of the pools, as in training.
        figure: PNG; None draws nothing.
        seed: of slices and noise.
        shared: see `Evaluation`.
    """

    PARTS = ("autoencoder", "steps", "pairs", "lesions", "volumes", "speed")

    def __init__(
        self,
        inferer: TranslationInferer,
        count: int = 64,
        subjects: int = 32,
        slices: int = 8,
        volumes: int = 4,
        cache_dir: str | None = None,
        figure: str | Path | None = None,
        seed: int = 0,
        **shared: Any,
    ) -> None:
        settings = {"count": count, "subjects": subjects, "slices": slices, "volumes": volumes, "seed": seed}
        super().__init__(inferer=inferer, settings=settings, **shared)
        self.count, self.subjects, self.slices = int(count), int(subjects), int(slices)
        self.volumes_wanted, self.cache_dir, self.figure, self.seed = int(volumes), cache_dir, figure, int(seed)

    # --- what the parts share ----------------------------------------------------------------------------------------

    def pool(self, split: str) -> ContrastPairs:
        """Slices of a split."""
        return ContrastPairs(self.subjects, self.slices, split, TARGETS, self.cache_dir, fixed=True)

    @cached_property
    def test(self) -> ContrastPairs:
        """Slices of test subjects."""
        return self.pool("test")

    @cached_property
    def validation(self) -> ContrastPairs:
        """Slices of validation subjects, by which settings and tables are chosen."""
        return self.pool("validation")

    @cached_property
    def sick(self) -> list[int]:
        """Test slices with a lesion."""
        return [number for number in range(len(self.test.maps)) if has_lesion(self.test.shares(number))]

    def numbers(self, pool: ContrastPairs) -> list[int]:
        """`count` slices of a pool, each at most once."""
        return np.random.default_rng([self.seed, 95]).permutation(len(pool.maps))[: self.count].tolist()

    @staticmethod
    def images(pool: ContrastPairs, numbers: list[int], source: str, target: str) -> tuple[np.ndarray, np.ndarray]:
        """Sources and targets float32 (N, H, W) of slices."""
        sources, targets = (
            np.stack([make(number, name) for number in numbers])
            for make, name in ((pool.source, source), (pool.target, target))
        )
        return sources, targets

    def translated(self, sources: np.ndarray, source: str, target: str, **changed: Any) -> np.ndarray:
        """Translations (N, H, W) by the inferer of the bundle, some of whose settings may be `changed`."""
        inferer = copy.copy(self.inferer)
        for name, value in {"source": source, "target": target, **changed}.items():
            setattr(inferer, name, value)
        with torch.inference_mode():
            found = inferer.translate(torch.from_numpy(sources)[:, None].to(self.device), self.network)
        return found[:, 0].float().cpu().numpy()

    @torch.inference_mode()
    def through(self, images: np.ndarray) -> np.ndarray:
        """Images (N, H, W) through the autoencoder."""
        parts = torch.from_numpy(images)[:, None].split(self.inferer.batch_size)
        found = [self.network.decode(self.network.encode(part.to(self.device))).clamp(0, 1).cpu() for part in parts]
        return torch.cat(found)[:, 0].numpy() * (images > 0)

    # --- parts -------------------------------------------------------------------------------------------------------

    def autoencoder(self) -> Found:
        """Targets through the autoencoder."""
        found = Found()
        rows: list[list[Any]] = []
        for target in TARGETS:
            truth = np.stack([self.test.target(number, target) for number in self.numbers(self.test)])
            rows.append([target, *rounded(fidelity(self.through(truth), truth))])
        found.figures = {"autoencoder_psnr": min(row[1] for row in rows), "autoencoder_ssim": min(r[2] for r in rows)}
        found.add(f"{self.count} test slices through the autoencoder", ["contrast", *SCORES], rows)
        return found

    def steps(self) -> Found:
        """What steps, sampler and the ControlNet's scale do, on validation slices: by this the settings were chosen."""
        sources, truth = self.images(self.validation, self.numbers(self.validation), *PUBLISHED)
        settings: list[dict[str, Any]] = [{"steps": steps} for steps in STEPS]
        settings += [{"control_scale": scale} for scale in (0.0, 0.5, 1.5)]
        settings += [{"copies": COPIES}, {"sampler": "ddim"}]
        scores = [
            fidelity(self.translated(sources, *PUBLISHED, method="controlnet", **changed), truth)
            for changed in settings
        ]
        rows = [
            [", ".join(f"{name} {value}" for name, value in changed.items()), *rounded(one)]
            for changed, one in zip(settings, scores)
        ]
        sharp = [n for n, one in zip(STEPS, scores) if one["sharpness"] >= SHARP_ENOUGH] or list(STEPS)
        chosen = max(sharp, key=lambda n: scores[STEPS.index(n)]["psnr"])
        found = Found(figures={"steps_chosen": chosen, "uncontrolled_psnr": rows[len(STEPS)][1]})
        own = f"{self.inferer.sampler}, {self.inferer.steps} steps, control_scale {self.inferer.control_scale:g}, "
        own += f"{self.inferer.copies} copies"
        title = f"{PUBLISHED[0]} to {PUBLISHED[1]}, {self.count} validation slices, one setting changed from {own}"
        found.add(title, ["setting", *SCORES], rows)
        return found

    def pairs(self) -> Found:
        """All pairs of contrasts by all methods."""
        found, rows, gains = Found(), [], []
        for source, target in PAIRS:
            sources, truth = self.images(self.test, self.numbers(self.test), source, target)
            table = IntensityTable(*self.images(self.validation, self.numbers(self.validation), source, target))
            made = self.translated(sources, source, target, method="controlnet")
            images = {
                "ControlNet": made,
                "U-Net": self.translated(sources, source, target, method="regression"),
                "copy": sources,
                "intensity table": table(sources),
                "ControlNet, another slice's": np.roll(made, 1, 0),
                "autoencoder (ceiling)": self.through(truth),
            }
            if (source, target) == PUBLISHED:
                images["ControlNet, source not named"] = self.translated(sources, AUTO, target, method="controlnet")
                images[MEAN] = self.translated(sources, source, target, method="controlnet", copies=COPIES)
                images[ALONE] = self.translated(sources, source, target, method="controlnet", control_scale=0.0)
            scores = {name: fidelity(image, truth) for name, image in images.items()}
            rows += [[f"{source} to {target}", name, *rounded(one)] for name, one in scores.items()]
            gains.append(scores["ControlNet"]["psnr"] - scores["copy"]["psnr"])
            if (source, target) == PUBLISHED:
                found.figures = published_figures(scores)
        found.figures |= {
            "gain_over_copy_lowest": round(min(gains), 2),
            "gain_over_copy": round(float(np.mean(gains)), 2),
        }
        title = f"{self.count} test slices of each pair, within the brain; sharpness is the mean squared slope over"
        found.add(f"{title} that of the target", ["pair", "by", *SCORES], rows)
        return found

    def lesions(self) -> Found:
        """Contrast of lesions to white matter in translations, against that in the target; and of occult lesions."""
        numbers, found, rows = self.sick, Found(), []
        for source, target in LESION_PAIRS if numbers else ():
            sources, truth = self.images(self.test, numbers, source, target)
            table = IntensityTable(*self.images(self.validation, self.numbers(self.validation), source, target))
            images = {
                "target": truth,
                "source": sources,
                "intensity table": table(sources),
                "ControlNet": self.translated(sources, source, target, method="controlnet"),
                "U-Net": self.translated(sources, source, target, method="regression"),
            }
            contrasts = {name: self.contrasts(stack, numbers) for name, stack in images.items()}
            occult = np.array([[name in self.test.occult[number] for name in NAMES] for number in numbers])
            for name, short in MEASURED.items():
                one = lesion_figures(contrasts["target"], contrasts[name], occult)
                rows.append([f"{source} to {target}", name, *one.values()])
                key = f"{source}_{target}_{short}".lower()
                found.figures |= {f"{key}_{figure}": value for figure, value in one.items() if value is not None}
        columns = [
            "pair",
            "in",
            "lesions",
            "r",
            "slope",
            "MAE",
            "visible ones kept",
            "occult lesions",
            "occult ones seen",
        ]
        title = (
            "Lesions' contrast to white matter against that in the target; occult ones have the T1 of white matter: "
        )
        title += "seen ones were invented where the target is T1w, and those not seen were lost where it is FLAIR"
        found.add(title, columns, rows)
        return found

    def contrasts(self, images: np.ndarray, numbers: list[int]) -> np.ndarray:
        """Contrasts (N, len(NAMES)) of lesions in images (N, H, W) of test slices."""
        return np.stack([lesion_contrasts(i, self.test.shares(n), NAMES) for i, n in zip(images, numbers)])

    def heads(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Sources and targets float32 (X, Y, Z) of whole test brains in the published pair of contrasts."""
        found = []
        for row in range(min(self.volumes_wanted, len(self.test.pool))):
            subject, rng = self.test.pool[row], np.random.default_rng([self.seed, 31, row])
            relaxation, maps = relaxation_of(draw_occult(rng), subject.age), as_shares(np.asarray(subject.maps))
            scans = (
                source_scan(PUBLISHED[0], rng, subject.age, relaxation),
                target_scan(PUBLISHED[1], rng, subject.age, relaxation),
            )
            found.append((painted(maps, scans[0], rng), painted(maps, scans[1], rng)))
        return found

    def volumes(self) -> Found:
        """Whole heads as the bundle translates them, extraction included, and how rough they are across slices."""
        settings: dict[str, dict[str, Any]] = {
            "ControlNet": {"method": "controlnet"},
            "ControlNet, a noise for each slice": {"method": "controlnet", "shared_noise": False},
            "U-Net": {"method": "regression"},
        }
        scores: dict[str, list] = {name: [] for name in (*settings, "copy")}
        for source, truth in self.heads():
            head, place = on_head_grid(source)
            level = roughness(truth, truth)
            made = {"copy": source}
            for name, changed in settings.items():
                inferer = copy.copy(self.inferer)
                for key, value in {"source": PUBLISHED[0], "target": PUBLISHED[1], **changed}.items():
                    setattr(inferer, key, value)
                out = inferer(torch.from_numpy(head)[None, None].to(self.device), self.network)[0, 0].cpu().numpy()
                made[name] = out[place]
            for name, one in made.items():
                slices = [np.moveaxis(volume, -1, 0) for volume in (one, truth)]
                filled = (slices[1] > 0).sum((1, 2)) >= LEAST_BRAIN
                same = fidelity(*(part[filled] for part in slices))
                scores[name].append([same["psnr"], same["ssim"], same["mae"], roughness(one, truth) / level])
        means = {name: np.mean(values, 0) for name, values in scores.items()}
        rows = [[name, *(round(float(value), 4) for value in values)] for name, values in means.items()]
        found = Found(figures={"volume_psnr": rows[0][1], "volume_ssim": rows[0][2], "volume_roughness": rows[0][4]})
        found.figures["volume_roughness_own_noise"] = rows[1][4]
        title = f"{PUBLISHED[0]} to {PUBLISHED[1]}, {len(scores['copy'])} whole test heads; roughness is the mean"
        title += " difference of neighbouring slices over that of the target"
        found.add(title, ["by", "PSNR", "SSIM", "MAE", "roughness"], rows)
        return found

    def speed(self) -> Found:
        """Processor seconds of a slice by both methods."""
        sources, _ = self.images(self.test, self.numbers(self.test)[: self.inferer.batch_size], *PUBLISHED)
        found, rows = Found(), []
        for method in ("controlnet", "regression"):
            times = []
            for _ in range(3):
                began = time.process_time() if self.device.type == "cpu" else time.perf_counter()
                self.translated(sources, *PUBLISHED, method=method)
                ended = time.process_time() if self.device.type == "cpu" else time.perf_counter()
                times.append((ended - began) / len(sources))
            rows.append([method, round(min(times), 4)])
            found.figures[f"seconds_per_slice_{method}"] = round(min(times), 4)
        found.add(f"Seconds of a slice, {self.kind_of_device}, {self.inferer.steps} steps", ["method", "seconds"], rows)
        return found

    # --- picture -----------------------------------------------------------------------------------------------------

    def draw(self, found: Mapping[str, Found]) -> None:
        """Test slices with lesions: source, target, both methods, and two further pairs."""
        if self.figure is None:
            return
        largest: dict[int, tuple[float, int]] = {}  # of each subject, the slice with most of lesions
        for number in self.sick or self.numbers(self.test):
            size = float(self.test.lesions(number).sum())
            largest[number // self.slices] = max(largest.get(number // self.slices, (-1.0, 0)), (size, number))
        numbers = [number for _, number in sorted(largest.values(), reverse=True)[:4]]
        columns: dict[str, np.ndarray] = {}
        for source, target in (PUBLISHED, ("T2w", "T1w"), ("T1w", "FLAIR")):
            sources, truth = self.images(self.test, numbers, source, target)
            columns |= {f"{source}": sources, f"{target}, phantom's": truth}
            columns[f"{source} to {target}"] = self.translated(sources, source, target, method="controlnet")
            columns[f"{source} to {target}, U-Net"] = self.translated(sources, source, target, method="regression")
        figure = new_figure(1.4 * len(columns), 1.8 * len(numbers))
        for column, (name, images) in enumerate(columns.items()):
            for row, image in enumerate(images):
                axis = figure.add_subplot(len(numbers), len(columns), len(columns) * row + column + 1)
                axis.imshow(image, cmap="gray", vmin=0, vmax=1)
                axis.set_title(name if row == 0 else "", fontsize=6)
                axis.axis("off")
        save_figure(figure, self.figure, pad=0.3)


def rounded(scores: Mapping[str, float]) -> list[float]:
    """PSNR, SSIM, MAE and sharpness for a table."""
    return [round(scores["psnr"], 2), *(round(scores[name], 4) for name in ("ssim", "mae", "sharpness"))]


def published_figures(scores: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Figures of the published pair: of the ControlNet, and how far it is above or below the others, in dB."""
    own, figures = scores["ControlNet"], {}
    for name, value in own.items():
        figures[f"flair_t1w_{name}"] = round(value, 4)
    others = {"copy": "copy", "table": "intensity table", "unet": "U-Net", "shuffled": "ControlNet, another slice's"}
    for key, name in (others | {"alone": ALONE}).items():
        figures[f"flair_t1w_over_{key}_db"] = round(own["psnr"] - scores[name]["psnr"], 2)
        figures[f"flair_t1w_ssim_{key}"] = round(scores[name]["ssim"], 4)
        figures[f"flair_t1w_sharpness_{key}"] = round(scores[name]["sharpness"], 4)
    figures["flair_t1w_mean_over_unet_db"] = round(scores[MEAN]["psnr"] - scores["U-Net"]["psnr"], 2)
    figures["flair_t1w_psnr_not_named"] = round(scores["ControlNet, source not named"]["psnr"], 4)
    return figures


def has_lesion(maps: np.ndarray) -> bool:
    """Whether label maps (K, H, W) show a lesion of `NAMES` that is large enough for a mean."""
    return any((maps[CLASSES.index(name)] > HELD).sum() >= FEWEST for name in NAMES)


def lesion_figures(truth: np.ndarray, found: np.ndarray, occult: np.ndarray) -> dict[str, float | int | None]:
    """How found contrasts (N, L) follow those of the truth, and which share of visible and occult lesions is seen.

    A lesion is seen where its contrast has the sign of the visible ones of its kind and at least half of their mean.
    """
    known = np.isfinite(truth) & np.isfinite(found)
    figures: dict[str, float | int | None] = {
        "lesions": int(known.sum()),
        "r": None,
        "slope": None,
        "contrast_mae": None,
    }
    if known.sum() >= FEWEST_LESIONS:
        one = agreement(truth[known], found[known])
        figures |= {"r": one["r"], "slope": one["slope"], "contrast_mae": one["mae"]}
    seen = np.zeros(truth.shape, bool)
    for place in range(truth.shape[1]):
        visible = known[:, place] & ~occult[:, place]
        if visible.any():
            usual = truth[visible, place].mean()
            seen[:, place] = found[:, place] * np.sign(usual) >= 0.5 * abs(usual)
    plain, hidden = known & ~occult, known & occult
    figures["kept"] = round(float(seen[plain].mean()), 4) if plain.any() else None
    figures["occult"] = int(hidden.sum())
    figures["occult_seen"] = round(float(seen[hidden].mean()), 4) if hidden.any() else None
    return figures


def on_head_grid(volume: np.ndarray, spacing_mm: float = 2.0) -> tuple[np.ndarray, tuple[slice, ...]]:
    """A brain (X, Y, Z) in the middle of the head grid, and where it lies there."""
    shape = grid_shape(spacing_mm)
    place = tuple(slice((whole - n) // 2, (whole - n) // 2 + n) for whole, n in zip(shape, volume.shape))
    head = np.zeros(shape, np.float32)
    head[place] = volume
    return head, place
