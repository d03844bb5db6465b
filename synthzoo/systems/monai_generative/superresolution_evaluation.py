"""Evaluation of super-resolution: truth and sharpness of unseen phantoms, and anomaly maps of thick slices.

A fine image is known exactly, and its scan is taken of it; every row reads the same scans. Interpolation adds nothing,
the regression gives the mean of what could have been, a sample one of it: the first two are nearer to the truth, the
last as sharp as the truth, and both are said. Controls are noise of the sample's size instead of a sample, the detail
of another head, and a noise level that is not the scan's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import nibabel as nib
import numpy as np
import torch
from monai.data import MetaTensor
from skimage.metrics import structural_similarity
from sklearn.metrics import average_precision_score
from tqdm import tqdm

from synthzoo.evaluation.base import Evaluation, Found
from synthzoo.evaluation.benchmark import machine_of
from synthzoo.evaluation.pictures import new_figure, save_figure
from synthzoo.inferers.brain_map import BrainMapInferer
from synthzoo.metrics.fidelity import gradient_energy
from synthzoo.metrics.localisation import dice
from synthzoo.phantoms.brain.contrast import render
from synthzoo.phantoms.brain.phantom import brain_affine, draw_params, make_anatomy
from synthzoo.phantoms.brain.planted import plant_tumour
from synthzoo.phantoms.brain.template import source_files
from synthzoo.systems.monai_generative.superresolution_dataset import (
    SPACING_MM,
    FinePhantoms,
    fine_image,
    take_scan,
)
from synthzoo.systems.monai_generative.superresolution_grid import (
    acquired,
    by_spline,
    consistent,
    interpolated,
)
from synthzoo.systems.monai_generative.superresolution_inferer import SuperResolutionInferer, Windows, share_of
from synthzoo.systems.monai_generative.superresolution_network import Upscaler
from synthzoo.transforms.head_grid import ToHeadGridd, resample

PROTOCOLS = {"thick": (1, 1, 4), "x2": (2, 2, 2), "x4": (4, 4, 4)}
TITLES = {"thick": "thick slices, 6 mm to 1.5 mm", "x2": "3 mm to 1.5 mm", "x4": "6 mm to 1.5 mm along each axis"}
CONTRASTS = ("T1w", "T2w", "FLAIR", "PD")  # training did not see the last one
NOISE = 0.015  # of the scans, where the brightest tissue is 0.8
NOISES = (0.0, 0.03, 0.06)
TUMOUR = {"core_ml": 6.0, "enhancing_ml": 10.0, "oedema_ml": 35.0}
HEAD_SEED = 5_200_000
COLUMNS = ("PSNR, dB", "SSIM", "sharpness", "r of the detail")
LINEAR, SPLINE = "trilinear", "B-spline"
MEAN, SAMPLE = "regression of the same size", "diffusion"
CONTROL, SHUFFLED, CEILING = "regression and noise", "diffusion of another head", "autoencoder alone"
KEYS = {LINEAR: "linear", SPLINE: "spline", MEAN: "mean", SAMPLE: "sample", CONTROL: "control", SHUFFLED: "shuffled"}


class Pair(NamedTuple):
    """A fine image (1, 1, D, H, W), its scan (1, 1, d, h, w), and where there is brain, bool (D, H, W)."""

    fine: torch.Tensor
    scan: torch.Tensor
    mask: np.ndarray


class Head(NamedTuple):
    """A fine scan (D, H, W) with a lesion, bool of that shape, the affine, and the factors of its thick slices."""

    image: np.ndarray
    truth: np.ndarray
    affine: np.ndarray
    factors: tuple[int, int, int]


class SuperResolutionEvaluation(Evaluation):
    """Measures a trained upscaler.

    Args:
        network: see `Upscaler`.
        subjects: of the split "test", for truth and sharpness; each in every contrast.
        crop: voxels of an edge of the part of a head that these are measured on, a multiple of 12.
        draws: samples in the mean of the row of several.
        map_network: of anomaly maps, with its brain extractor; None leaves that part out.
        map_inferer: of the maps.
        map_threshold: above which the map calls a lesion.
        figure: PNG of the thick slices; None draws nothing.
        cache_dir: of the phantoms.
        spacing_mm: of the fine images.
        heads: names of those whose anomaly maps are measured, of "template", "T1w", "FLAIR".
        shared: report, work_dir, parts, and the inferer whose settings are measured, see `Evaluation`.
    """

    PARTS = ("truth", "draws", "noise", "anomaly_maps")

    def __init__(
        self,
        network: Upscaler,
        subjects: int = 2,
        crop: int = 72,
        draws: int = 4,
        map_network: torch.nn.Module | None = None,
        map_inferer: BrainMapInferer | None = None,
        map_threshold: float = 0.165,
        figure: str | Path | None = None,
        cache_dir: str | Path | None = None,
        spacing_mm: float = SPACING_MM,
        heads: Sequence[str] = ("template", "T1w", "FLAIR"),
        **shared: Any,
    ) -> None:
        settings = {
            "subjects": subjects,
            "crop": crop,
            "draws": draws,
            "map_threshold": map_threshold,
            "spacing_mm": spacing_mm,
            "heads": list(heads),
        }
        super().__init__(network, settings=settings, **shared)
        self.subjects, self.crop, self.draw_count, self.heads = subjects, int(crop), int(draws), tuple(heads)
        self.map_network, self.map_inferer, self.map_threshold = map_network, map_inferer, float(map_threshold)
        self.figure, self.cache_dir, self.spacing_mm = figure, cache_dir, float(spacing_mm)

    @cached_property
    def pool(self) -> FinePhantoms:
        """Subjects of the split "test"."""
        return FinePhantoms(
            "test", self.subjects, self.cache_dir, self.spacing_mm, lambda it: tqdm(it, desc="phantoms")
        )

    def settings_of(self, **changed: Any) -> SuperResolutionInferer:
        """The bundle's inferer with other settings."""
        names = ("method", "steps", "draws", "noise", "trust", "seed", "autocast")
        own = {name: getattr(self.inferer, name) for name in names} | {"spacing_mm": self.spacing_mm}
        return SuperResolutionInferer(**{**own, **changed})

    def pair(self, subject: int, contrast: str, factors: tuple[int, int, int], noise: float = NOISE) -> Pair:
        """The middle of a subject's head in a contrast, and its scan."""
        rng = np.random.default_rng([97, subject, CONTRASTS.index(contrast)])
        maps = self.pool[subject]
        start = [max((n - self.crop) // 2, 0) for n in maps.shape[1:]]
        region = np.zeros((len(maps), self.crop, self.crop, self.crop), np.float32)
        region[0] = 255
        cut = maps[(slice(None), *(slice(a, a + self.crop) for a in start))].astype(np.float32)
        region[(slice(None), *(slice(0, n) for n in cut.shape[1:]))] = cut
        region /= np.maximum(region.sum(0), 1)
        fine = torch.from_numpy(fine_image(region, rng, contrast))[None, None].to(self.device)
        scan = take_scan(fine.cpu(), factors, noise, rng, perfect=True).to(self.device)
        return Pair(fine, scan, region[0] < 0.5)

    def upscale(self, pair: Pair, factors: Sequence[int], **changed: Any) -> tuple[torch.Tensor, dict[str, Any]]:
        """A scan by the inferer with settings of its own, and what it says of it."""
        size = torch.tensor([[k * self.spacing_mm for k in factors]])
        found = self.settings_of(**changed)(pair.scan, self.network, size)
        return found["pred"], {name: float(value[0]) for name, value in found["upscaling"].items()}

    @torch.inference_mode()
    def rows_of(self, pair: Pair, factors: tuple[int, int, int], other: Pair) -> dict[str, torch.Tensor]:
        """The fine images of every row of the table."""
        low = interpolated(pair.scan, factors)
        mean, _ = self.upscale(pair, factors, method="mean")
        sample, _ = self.upscale(pair, factors, method="sample", draws=1)
        elsewhere, _ = self.upscale(other, factors, method="sample", draws=1)
        windows, known = Windows(low, self.network), low.new_tensor([factors])
        level = self.network.classes(low.new_tensor([NOISE]))
        generator = torch.Generator().manual_seed(0)

        def guess(image: torch.Tensor) -> torch.Tensor:
            beside = self.network.beside(image, known)
            detail = self.network.regress(beside, level.expand(len(image)))
            noise = torch.randn(detail.shape, generator=generator).to(detail)
            return self.network.change(image, detail + self.network.rest_scale * noise)

        control = low + windows.blend(guess, low)
        coded = windows.blend(
            lambda image, fine: self.network.change(image, self.network.detail(fine, image)), low, pair.fine
        )
        return {
            LINEAR: low,
            SPLINE: by_spline(pair.scan, factors),
            MEAN: mean,
            SAMPLE: sample,
            CONTROL: consistent(control, pair.scan, factors, share_of(self.inferer.trust, NOISE)),
            SHUFFLED: low + elsewhere - interpolated(other.scan, factors),
            CEILING: low + coded,
        }

    def truth(self) -> Found:
        """Truth and sharpness of every row, of every grid and contrast."""
        found = Found()
        for name, factors in PROTOCOLS.items():
            scores: dict[str, dict[str, list[list[float]]]] = {}
            for contrast in tqdm(CONTRASTS, desc=TITLES[name]):
                for subject in range(self.subjects):
                    pair = self.pair(subject, contrast, factors)
                    other = self.pair((subject + 1) % self.subjects, contrast, factors)
                    if self.subjects == 1:
                        other = Pair(other.fine, other.scan.flip(2), other.mask)
                    low = interpolated(pair.scan, factors)
                    images = self.rows_of(pair, factors, other)
                    for row, image in images.items():
                        scores.setdefault(row, {}).setdefault(contrast, []).append(scores_of(image, pair, low))
                    if name == "thick" and subject == 0:
                        self._keep(contrast, pair, images)
            table = [[row, *_means([s for one in by.values() for s in one])] for row, by in scores.items()]
            found.add(f"Unseen phantoms, {TITLES[name]}", ["", *COLUMNS], table)
            for row, by in scores.items():
                if row in KEYS:
                    psnr, ssim, sharp, r = _means([s for one in by.values() for s in one])
                    key = f"{name}_{KEYS[row]}"
                    found.figures |= {
                        f"{key}_psnr": psnr,
                        f"{key}_ssim": ssim,
                        f"{key}_sharpness": sharp,
                        f"{key}_r": r,
                    }
            for row in (MEAN, SAMPLE):
                off = abs(1 - found.figures[f"{name}_{KEYS[row]}_sharpness"])
                found.figures[f"{name}_{KEYS[row]}_unsharp"] = round(off, 4)
            if name == "thick":
                each: list[list[Any]] = [
                    [contrast, *(_means(scores[row][contrast])[0] for row in (LINEAR, SPLINE, MEAN, SAMPLE))]
                    for contrast in CONTRASTS
                ]
                found.add("PSNR of thick slices by contrast, dB", ["", LINEAR, SPLINE, MEAN, SAMPLE], each)
                gain = each[-1][3] - each[-1][2]
                found.figures["unseen_contrast_gain_db"] = round(gain, 3)
        return found

    def draws(self) -> Found:
        """One sample against the mean of several, on thick slices."""
        found, factors = Found(), PROTOCOLS["thick"]
        rows = []
        for count in (1, self.draw_count):
            scores = []
            for contrast in CONTRASTS:
                pair = self.pair(0, contrast, factors)
                image, _ = self.upscale(pair, factors, method="sample", draws=count)
                scores.append(scores_of(image, pair, interpolated(pair.scan, factors)))
            rows.append([count, *_means(scores)])
        found.add("Samples whose mean is the result, thick slices", ["samples", *COLUMNS], rows)
        found.figures |= {"one_draw_psnr": rows[0][1], "mean_of_draws_psnr": rows[1][1]}
        return found

    def noise(self) -> Found:
        """Scans of more and less noise, with the level as it is, as it is read and as it is not."""
        found, factors = Found(), PROTOCOLS["thick"]
        rows, level = [], torch.zeros(1, dtype=torch.long, device=self.device)
        for noise in NOISES:
            scores: dict[str, list[float]] = {}
            for contrast in CONTRASTS[:2]:
                pair = self.pair(0, contrast, factors, noise)
                low = interpolated(pair.scan, factors)
                read, facts = self.upscale(pair, factors, method="mean", noise=None)
                images = {
                    LINEAR: low,
                    "read": read,
                    "told": self.upscale(pair, factors, method="mean", noise=noise)[0],
                    "none": self.upscale(pair, factors, method="mean", noise=0.0)[0],
                }
                scores.setdefault("level", []).append(facts["noise_of_scan"])
                for name, image in images.items():
                    scores.setdefault(name, []).append(scores_of(image, pair, low)[0])
            rows.append(
                [noise, *(round(float(np.mean(scores[k])), 4) for k in ("level", LINEAR, "read", "told", "none"))]
            )
        columns = ["noise", "as read", f"PSNR {LINEAR}", "level as read", "level as it is", "level 0"]
        found.add("Noise of the scan, thick slices, regression", columns, rows)
        with torch.inference_mode():
            low = interpolated(self.pair(0, "T1w", factors).scan, factors)[..., : self.network.window]
            low = low[:, :, : self.network.window, : self.network.window]
            beside = self.network.beside(low, low.new_tensor([factors]))
            quiet, loud = (self.network.regress(beside, level + n) for n in (0, self.network.levels - 1))
        found.figures |= {
            "noise_sensitivity": round(float((loud - quiet).pow(2).mean().sqrt() / quiet.pow(2).mean().sqrt()), 4),
            "noise_read_at_60": rows[-1][1],
            "noisy_linear_psnr": rows[-1][2],
            "noisy_psnr": rows[-1][3],
        }
        return found

    def head(self, name: str) -> Head:
        """A head with a tumour: the T1w template of 1 mm, or a phantom of 1.5 mm in a contrast."""
        if name == "template":
            return template_head()
        anatomy = make_anatomy(replace(draw_params(HEAD_SEED), tumour=TUMOUR), self.spacing_mm)
        image = render(anatomy, name, seed=1, noise=0.01, bias=0.1)
        truth = np.sum(list(anatomy.lesions.values()), 0) > 0.5
        return Head(image, truth, brain_affine(self.spacing_mm), (1, 1, 4))

    def versions(self, head: Head, scan: torch.Tensor) -> Mapping[str, Callable[[], torch.Tensor]]:
        """What an anomaly map is made of: names and the fine images' makers."""
        size = torch.tensor(np.linalg.norm(head.affine[:3, :3], axis=0) * np.array(head.factors))[None]

        def by(method: str) -> torch.Tensor:
            return self.settings_of(method=method, draws=1)(scan, self.network, size)["pred"]

        return {
            "thick slices": lambda: scan,
            LINEAR: lambda: interpolated(scan, head.factors),
            SPLINE: lambda: by_spline(scan, head.factors),
            MEAN: lambda: by("mean"),
            SAMPLE: lambda: by("sample"),
        }

    def anomaly_maps(self) -> Found:
        """Anomaly maps of a head's fine scan, of its slices of 6 mm, and of what these are brought to."""
        found = Found()
        if self.map_network is None or self.map_inferer is None:
            return found
        keys = {"fine scan": "fine", "thick slices": "thick", **KEYS}
        for name in self.heads:
            head = self.head(name)
            fine = torch.from_numpy(head.image)[None, None]
            scan = acquired(fine, head.factors).to(self.device)
            rows: list[list[Any]] = [["fine scan", *self._map_scores(fine, head)]]
            for version, make in self.versions(head, scan).items():
                start = time.perf_counter()
                image = make()
                if version == SAMPLE:
                    found.figures[f"{name.lower()}_seconds"] = round(time.perf_counter() - start, 1)
                rows.append([version, *self._map_scores(image.cpu(), head)])
            found.add(f"Anomaly map of a tumour in slices of 6 mm, {name}", ["of", "Dice", "AP"], rows)
            found.figures |= {f"{name.lower()}_{keys[row[0]]}_dice": row[1] for row in rows}
            found.figures |= {f"{name.lower()}_{keys[row[0]]}_ap": row[2] for row in rows}
        seconds = [[name, found.figures[f"{name.lower()}_seconds"]] for name in self.heads]
        found.add(f"Seconds for a sample of a head, {machine_of(self.device)}", ["head", "seconds"], seconds)
        return found

    def _map_scores(self, image: torch.Tensor, head: Head) -> list[float]:
        """Dice at the threshold and average precision of the map of an image, on the fine scan's grid."""
        whole = np.array(head.image.shape) / np.array(image.shape[2:])
        affine = head.affine @ np.diag([*whole, 1.0])
        affine[:3, 3] = (head.affine @ np.array([*((whole - 1) / 2), 1.0]))[:3]
        sample = {"image": MetaTensor(image[0].float(), affine=torch.from_numpy(affine)), "case": "head"}
        on_grid = ToHeadGridd("image", 2.0, upright=True)(sample)["image"]
        assert self.map_inferer is not None and self.map_network is not None
        heat = self.map_inferer(on_grid[None].as_subclass(torch.Tensor).to(self.device), self.map_network)
        grid = np.asarray(on_grid.affine, np.float64)
        own = resample(heat[0, 0].float().cpu().numpy(), grid, head.image.shape, head.affine)
        mask = head.image > 0.05 * head.image.max()
        score = dice([own], [head.truth], [np.ones_like(head.truth)], self.map_threshold)
        ap = average_precision_score(head.truth[mask], own[mask])
        return [round(score, 4), round(float(ap), 4)]

    def _keep(self, contrast: str, pair: Pair, images: Mapping[str, torch.Tensor]) -> None:
        """Keep a plane along the slices for the picture."""
        names = (LINEAR, SPLINE, MEAN, SAMPLE)
        every = {"fine image": pair.fine, **{name: images[name] for name in names}}
        planes = {n: image[0, 0, self.crop // 2].cpu() for n, image in every.items()}
        self.cached(f"planes_{contrast}", lambda: planes)

    def draw(self, found: Mapping[str, Found]) -> None:
        """The picture: a plane along the thick slices, a contrast a row."""
        paths = [self.folder / f"planes_{contrast}.pt" for contrast in CONTRASTS]
        if self.figure is None or "truth" not in found or not all(path.is_file() for path in paths):
            return
        rows = [torch.load(path, weights_only=True) for path in paths]
        figure = new_figure(2.2 * len(rows[0]), 2.4 * len(rows), facecolor="black")
        axes = np.atleast_2d(figure.subplots(len(rows), len(rows[0])))
        for line, contrast, planes in zip(axes, CONTRASTS, rows):
            for axis, (name, plane) in zip(line, planes.items()):
                axis.imshow(np.flip(plane.numpy().T, 0), cmap="gray", vmin=0, vmax=1)
                axis.set_title(f"{contrast}, {name}", color="white", fontsize=7)
                axis.set_axis_off()
        save_figure(figure, self.figure, pad=0.2)


def scores_of(image: torch.Tensor, pair: Pair, low: torch.Tensor) -> list[float]:
    """PSNR in dB, SSIM, gradient energy over the truth's, r of what was added to the interpolation, in the brain."""
    shown, truth, start = (x[0, 0].cpu().numpy().astype(np.float64) for x in (image, pair.fine, low))
    mask = pair.mask
    error = float(((shown - truth)[mask] ** 2).mean())
    _, similar = structural_similarity(truth, shown, win_size=7, data_range=1.0, full=True)
    energies = gradient_energy(np.stack([np.where(mask, x, 0) for x in (shown, truth)]), inside=1e-6)
    added, lacking = (shown - start)[mask], (truth - start)[mask]
    r = float(np.corrcoef(added, lacking)[0, 1]) if added.std() > 1e-6 else 0.0
    return [-10 * float(np.log10(max(error, 1e-12))), float(similar[mask].mean()), float(energies[0] / energies[1]), r]


def template_head() -> Head:
    """The T1w template of 1 mm with a planted tumour, and slices of 6 mm."""
    image, grey, white = (nib.load(path) for path in source_files().values())
    head = np.asarray(image.dataobj, dtype=np.float32)
    tissues = np.stack([np.asarray(part.dataobj, dtype=np.float32) for part in (grey, white)])
    truth, sick = plant_tumour(head, np.clip(tissues / tissues.max(), 0, 1))
    kept = sick.shape[2] // 6 * 6
    return Head(sick[..., :kept].astype(np.float32), truth[..., :kept], np.asarray(image.affine, float), (1, 1, 6))


def _means(rows: Sequence[Sequence[float]]) -> list[float]:
    return [round(float(value), 4) for value in np.mean(rows, 0)]
