"""Evaluation of what the prior does with scans, beside classical methods that get the same scans and know as much.

Scans are test phantoms, whose truth is known to the voxel. A method with a setting has it chosen on phantoms of the
validation split, for each noise or acceleration, by the mean peak signal-to-noise ratio; the prior's tasks keep the
settings of their configs throughout. "closed form alone" is the same task with the U-Net silenced.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from scipy import ndimage as ndi
from skimage.metrics import structural_similarity
from tqdm import tqdm

from synthzoo.datasets.brain.phantoms import BrainPhantomDataset
from synthzoo.evaluation.base import Evaluation, Found
from synthzoo.evaluation.denoiser_parts import ClosedFormAlone, has_closed_form, with_denoiser
from synthzoo.evaluation.fillings import biharmonic, by_other_side, by_surroundings
from synthzoo.instruments.brain.segmentation import CLASSES, SPACING_MM, features, segment, stack_on_grid
from synthzoo.instruments.brain.volumes import measure_brains
from synthzoo.metrics.fidelity import fid, gradient_energy, psnr
from synthzoo.phantoms.brain.phantom import make_brain
from synthzoo.systems.brain_ldm import classical
from synthzoo.systems.brain_ldm.inferer import EditInferer, InpaintInferer, ReconstructInferer, ScanInferer
from synthzoo.systems.brain_ldm.restoration import keep_samples, sampling_mask, zero_filled

FIRST = 80_000  # of the test phantoms, which no other evaluation of the bundle shows
DEPTH_MM = 8.0  # of a hole's middle below the brain's surface
WEIGHTS = {
    "denoising": (0.3, 0.5, 0.7, 1.0, 1.4),
    "means": (0.5, 0.7, 0.9, 1.1),
    "reconstruction": (0.005, 0.015, 0.04),
}
ALONE = "closed form alone"
REFERENCE = 64  # other phantoms that the FID of halfway images is to
STARTS = 2  # pairs of which the start is given back, too
CLEARLY = 0.05  # change of a voxel that is counted


class ApplicationEvaluation(Evaluation):
    """Error of filled, denoised and reconstructed scans; what interpolation and editing give and leave.

    Args:
        network: trained `LatentDiffusion`.
        report, work_dir, parts: see `Evaluation`.
        tasks: name -> inferer as its config has it: "inpaint", "denoise" (its noise is replaced), "reconstruct" (its
            acceleration is), "interpolate", "edit" (its change is).
        subjects: test phantoms.
        development: validation phantoms on which settings of the classical methods are chosen.
        pairs: of subjects that are interpolated.
        holes_ml, noises, accelerations, changes_ml: of each task.
        seed: of noise and holes.
    """

    PARTS = ("inpainting", "denoising", "reconstruction", "interpolation", "editing")

    def __init__(
        self,
        network: torch.nn.Module,
        tasks: Mapping[str, Any],
        subjects: int = 12,
        development: int = 4,
        pairs: int = 24,
        holes_ml: Sequence[float] = (10.0, 30.0, 90.0),
        noises: Sequence[float] = (0.03, 0.06, 0.12),
        accelerations: Sequence[float] = (4.0, 8.0),
        changes_ml: Sequence[float] = (30.0, -10.0),
        seed: int = 0,
        **shared: Any,
    ) -> None:
        self.tasks, self.subjects, self.development, self.pairs = dict(tasks), subjects, development, pairs
        self.holes_ml, self.noises, self.accelerations = tuple(holes_ml), tuple(noises), tuple(accelerations)
        self.changes_ml, self.seed = tuple(changes_ml), int(seed)
        own = {name: str(sorted((k, str(v)) for k, v in vars(task).items())) for name, task in self.tasks.items()}
        settings = {"tasks": own, "subjects": subjects, "development": development, "pairs": pairs, "seed": seed}
        settings |= {"holes": list(holes_ml), "noises": list(noises), "accelerations": list(accelerations)}
        super().__init__(network, settings=settings | {"changes": list(changes_ml)}, **shared)
        self.spacing_mm: float = network.spacing_mm

    @cached_property
    def scans(self) -> np.ndarray:
        """The test phantoms, float32 (N, D, H, W)."""
        return _phantoms(self.subjects, "test", FIRST, self.spacing_mm)

    @cached_property
    def developed(self) -> np.ndarray:
        """The validation phantoms."""
        return _phantoms(self.development, "validation", FIRST, self.spacing_mm)

    @cached_property
    def closed_form(self) -> torch.nn.Module | None:
        """The network with its U-Net silenced, where that leaves something."""
        if not has_closed_form(self.network):
            return None
        return with_denoiser(self.network, ClosedFormAlone(self.network.denoiser.gaussian))

    def kept(self, name: str, method: Callable, *given: np.ndarray) -> np.ndarray:
        """What a method makes of arrays, float32 (D, H, W); from work_dir where it lies there."""
        digest = hashlib.sha256(name.encode())
        for one in given:
            digest.update(np.ascontiguousarray(one).tobytes())
        found = self.cached(
            f"made/{digest.hexdigest()[:20]}",
            lambda: {"image": torch.from_numpy(np.ascontiguousarray(method(*given), np.float32))},
        )
        return found["image"].numpy()

    def made(
        self, task: ScanInferer, image: np.ndarray, network: torch.nn.Module | None = None, **given: np.ndarray
    ) -> np.ndarray:
        """What a task makes of one image (D, H, W) with the network, or with another one."""
        more = {name: torch.from_numpy(value).float()[None, None].to(self.device) for name, value in given.items()}
        found = task(torch.from_numpy(image)[None, None].to(self.device), network or self.network, **more)["pred"]
        return found[0, 0].cpu().numpy()

    def alone(self, task: ScanInferer, *names: str) -> dict[str, Callable]:
        """The closed form as a further method of a task, whose arguments after the image are `names`; may be none."""

        def run(image: np.ndarray, *given: np.ndarray) -> np.ndarray:
            return self.made(task, image, self.closed_form, **dict(zip(names, given, strict=True)))

        return {} if self.closed_form is None else {ALONE: run}

    def inpainting(self) -> Found:
        """Holes of known volume, filled."""
        task = self.tasks["inpaint"]
        single = InpaintInferer(task.steps, 1, task.eta, task.seed)
        methods: dict[str, Callable] = {
            "prior": lambda image, hole: self.made(task, image, unknown=hole),
            "prior, one draw": lambda image, hole: self.made(single, image, unknown=hole),
            **self.alone(task, "unknown"),
            "biharmonic": biharmonic,
            "other side": by_other_side,
            "mean around": by_surroundings,
        }
        found, rows = Found(), []
        for ml in self.holes_ml:
            values: dict[str, list[tuple[float, float]]] = {name: [] for name in methods}
            for number, scan in enumerate(tqdm(self.scans, desc=f"inpainting {ml:g} mL")):
                hole = _hole(scan > 0, ml, self.seed + number, self.spacing_mm)
                holed = np.where(hole, 0, scan).astype(np.float32)
                slope = _slope(scan, hole)
                for name, method in methods.items():
                    made = self.kept(f"inpaint {ml:g} {name}", method, holed, hole)
                    values[name].append((psnr(made, scan, hole), _slope(made, hole) / slope))
            means = {name: np.mean(pairs, axis=0) for name, pairs in values.items()}
            rows.append([ml, *(f"{db:.2f} ({sharp:.2f})" for db, sharp in means.values())])
            for name, (db, sharp) in means.items():
                key = f"inpaint_{ml:g}ml_{_key(name)}"
                found.figures |= {f"{key}_psnr": round(float(db), 3), f"{key}_sharpness": round(float(sharp), 3)}
        title = f"Holes in {self.subjects} test phantoms, filled: PSNR within the hole in dB "
        title += "(mean squared slope there over the truth's)"
        found.add(title, ["mL", *methods], rows)
        return found

    def denoising(self) -> Found:
        """White noise within the brain, taken out."""
        found, rows = Found(), []
        for noise in self.noises:
            methods: dict[str, Callable] = {
                "noisy": lambda image: image,
                "prior": lambda image, noise=noise: self.made(self._denoiser(noise), image),
                "prior, noise unknown": lambda image: self.made(self._denoiser(None), image),
                **self.alone(self._denoiser(noise)),
                "total variation": self._chosen(
                    f"total variation {noise:g}",
                    [lambda y, w=w, n=noise: classical.by_total_variation(y, w * n) for w in WEIGHTS["denoising"]],
                    [(self._noisy(scan, noise, 500 + n), scan) for n, scan in enumerate(self.developed)],
                ),
                "non-local means": self._chosen(
                    f"means {noise:g}",
                    [lambda y, w=w, n=noise: classical.by_non_local_means(y, n, w) for w in WEIGHTS["means"]],
                    [(self._noisy(scan, noise, 500 + n), scan) for n, scan in enumerate(self.developed)],
                ),
            }
            cases = [(self._noisy(scan, noise, n), scan) for n, scan in enumerate(self.scans)]
            self._compare(found, rows, f"denoise_{noise:g}", noise, methods, cases)
        title = f"Noise taken out of {self.subjects} test phantoms: PSNR within the brain in dB (SSIM); noise as a "
        title += "share of the range, bright tissue at 0.85"
        found.add(title, ["noise", *methods], rows)
        return found

    def _denoiser(self, noise: float | None) -> ScanInferer:
        task = self.tasks["denoise"]
        return type(task)(noise, task.detail, task.seed)

    def _noisy(self, scan: np.ndarray, noise: float, number: int) -> np.ndarray:
        draw = np.random.default_rng([self.seed, number, 87]).standard_normal(scan.shape)
        return np.where(scan > 0, scan + noise * draw, 0).astype(np.float32)

    def reconstruction(self) -> Found:
        """Sparsely sampled k-space, made whole."""
        found, rows = Found(), []
        task = self.tasks["reconstruct"]
        for acceleration in self.accelerations:
            sampled = sampling_mask((self.scans.shape[2], self.scans.shape[3]), acceleration, task.seed)
            shared = {"steps": task.steps, "eta": task.eta, "seed": task.seed, "acceleration": acceleration}
            several, one = (ReconstructInferer(draws=draws, **shared) for draws in (task.draws, 1))

            def smooth(scan: np.ndarray, weight: float, sampled: torch.Tensor = sampled) -> np.ndarray:
                whole = torch.from_numpy(scan)[None, None]
                keep, filled = keep_samples(whole, sampled), zero_filled(whole, sampled)
                return classical.reconstructed_by_total_variation(filled, keep, weight)[0, 0].numpy()

            methods: dict[str, Callable] = {
                "zero-filled": lambda x, sampled=sampled: zero_filled(torch.from_numpy(x)[None, None], sampled)[
                    0, 0
                ].numpy(),
                "prior": lambda scan, task=several: self.made(task, scan),
                "prior, one draw": lambda scan, task=one: self.made(task, scan),
                **self.alone(several),
                "total variation": self._chosen(
                    f"total variation {acceleration:g}x",
                    [lambda scan, w=w, smooth=smooth: smooth(scan, w) for w in WEIGHTS["reconstruction"]],
                    [(scan, scan) for scan in self.developed],
                ),
            }
            cases = [(scan, scan) for scan in self.scans]  # a method reads of it what is sampled
            self._compare(found, rows, f"reconstruct_{acceleration:g}x", acceleration, methods, cases)
        title = f"Scans of sparsely sampled k-space, {self.subjects} test phantoms: PSNR within the brain in dB (SSIM)"
        found.add(title, ["acceleration", *methods], rows)
        return found

    def _chosen(
        self, name: str, candidates: Sequence[Callable], cases: Sequence[tuple[np.ndarray, np.ndarray]]
    ) -> Callable:
        """The candidate with the highest mean PSNR."""
        scores = [
            np.mean([psnr(self.kept(f"{name} {n}", one, given), scan, scan > 0) for given, scan in cases])
            for n, one in enumerate(candidates)
        ]
        return candidates[int(np.argmax(scores))]

    def _compare(
        self,
        found: Found,
        rows: list,
        key: str,
        level: float,
        methods: Mapping[str, Callable],
        cases: Sequence[tuple[np.ndarray, np.ndarray]],
    ) -> None:
        """Append a row and the figures of the methods on pairs of what is given and the truth."""
        values: dict[str, list[tuple[float, float]]] = {name: [] for name in methods}
        for given, scan in tqdm(cases, desc=key):
            brain = scan > 0
            for name, method in methods.items():
                made = np.where(brain, np.clip(self.kept(f"{key} {name}", method, given), 0, 1), 0)
                values[name].append((psnr(made, scan, brain), _ssim(made, scan, brain)))
        means = {name: np.mean(pairs, axis=0) for name, pairs in values.items()}
        rows.append([level, *(f"{db:.2f} ({ssim:.3f})" for db, ssim in means.values())])
        for name, (db, ssim) in means.items():
            found.figures[f"{key}_{_key(name)}_psnr"] = round(float(db), 3)
            found.figures[f"{key}_{_key(name)}_ssim"] = round(float(ssim), 4)

    def interpolation(self) -> Found:
        """Halfway between two subjects, and back at the first."""
        task = self.tasks["interpolate"]
        half, start = (type(task)(share, task.steps) for share in (0.5, 0.0))
        every = _phantoms(self.pairs + 1, "test", FIRST + 1000, self.spacing_mm)
        firsts = every[:-1]
        pairs = list(zip(firsts, every[1:]))

        def latent(one: np.ndarray, other: np.ndarray) -> np.ndarray:
            with torch.inference_mode():
                ends = self.network.encode(torch.from_numpy(np.stack([one, other]))[:, None].to(self.device))
                return self.network.decode(ends.mean(0, keepdim=True))[0, 0].clamp(0, 1).cpu().numpy()

        methods: dict[str, Callable] = {
            "prior": lambda one, other: self.made(half, one, other=other),
            **self.alone(half, "other"),
            "mean latent": latent,
            "cross-fade": lambda one, other: (one + other) / 2,
        }
        ends = measure_brains(every, self.spacing_mm)
        middle = {name: (ends[name][:-1] + ends[name][1:]) / 2 for name in ("ventricle_ml", "brain_ml")}
        # Halfway images lie near the subjects that they are made of, so that others are what they are compared with.
        others = _phantoms(REFERENCE, "test", FIRST + 2000, self.spacing_mm)
        energy, reference = gradient_energy(every).mean(), features(others, self.spacing_mm)
        sets = {
            name: np.stack([self.kept(name, method, *pair) for pair in tqdm(pairs, desc=name)])
            for name, method in methods.items()
        }
        found, rows = Found(), []
        for name, images in [*sets.items(), ("phantoms", firsts)]:
            measured = measure_brains(images, self.spacing_mm)
            off = [float(np.abs(measured[key] - middle[key]).mean()) for key in middle] if name in sets else [None] * 2
            sharp = float(gradient_energy(images).mean() / energy)
            distance = fid(features(images, self.spacing_mm), reference)
            rows.append(
                [name, *(None if one is None else round(one, 2) for one in off), round(sharp, 3), round(distance, 6)]
            )
            key = f"interpolate_{_key(name)}"
            found.figures |= {f"{key}_sharpness": round(sharp, 4), f"{key}_fid": round(distance, 6)}
            if name in sets:
                found.figures |= {f"{key}_ventricle_mae": round(off[0], 3), f"{key}_brain_mae": round(off[1], 2)}
        at_start = [self.kept("start", lambda x, y: self.made(start, x, other=y), *pair) for pair in pairs[:STARTS]]
        back = [psnr(made, one, one > 0) for made, one in zip(at_start, firsts)]
        found.figures["interpolate_start_psnr"] = round(float(np.mean(back)), 3)
        columns = [
            "halfway",
            "ventricles off the mean of both, mL",
            "brain off, mL",
            "slope over the phantoms'",
            "FID to others",
        ]
        title = f"Halfway between two subjects, {self.pairs} pairs; a share of 0 gives the first subject back with "
        found.add(f"{title}{np.mean(back):.2f} dB", columns, rows)
        return found

    def editing(self) -> Found:
        """Ventricles changed by millilitres in a scan, beside the phantom of the same subject that has them so."""
        found, rows = Found(), []
        task = self.tasks["edit"]
        table = BrainPhantomDataset(self.subjects, split="test", spacing_mm=self.spacing_mm, first=FIRST)
        for change in self.changes_ml:
            edit = EditInferer(change, task.steps, task.rounds, task.keep)
            methods: dict[str, Callable] = {
                "prior": lambda scan, edit=edit: self.made(edit, scan),
                **self.alone(edit),
                "grown ventricles": lambda scan, change=change: classical.with_larger_ventricles(
                    scan, change, self.spacing_mm
                ),
                "unedited": lambda scan: scan,
            }
            sets: dict[str, list[np.ndarray]] = {name: [] for name in ("phantom", *methods)}
            kept = []
            for number, scan in enumerate(tqdm(self.scans, desc=f"editing {change:+g} mL")):
                params = table.params(number)
                wanted = params.ventricle_ml + change
                read = float(measure_brains(scan[None], self.spacing_mm)["ventricle_ml"][0]) + change
                if not (5 <= wanted <= 120 and 5 <= read <= 120):
                    continue
                rendering: dict[str, Any] = table.rendering
                other = make_brain(replace(params, ventricle_ml=wanted), self.spacing_mm, **rendering)
                sets["phantom"].append(other.image)
                for name, method in methods.items():
                    sets[name].append(self.kept(f"edit {change:g} {name}", method, scan))
                kept.append(scan)
            if not kept:
                continue
            start, truth = np.stack(kept), np.stack(sets["phantom"])
            before, seen_before = measure_brains(start, self.spacing_mm), _seen_ml(start, self.spacing_mm)
            for name, images in sets.items():
                made = np.stack(images)
                after = measure_brains(made, self.spacing_mm)
                moved = [float((after[key] - before[key]).mean()) for key in ("ventricle_ml", "brain_ml")]
                seen = [float(one) for one in (_seen_ml(made, self.spacing_mm) - seen_before).mean(1)]
                db = float(np.mean([psnr(a, b, b > 0) for a, b in zip(made, truth)])) if name != "phantom" else None
                share = float(np.mean([(np.abs(a - b) > CLEARLY)[b > 0].mean() for a, b in zip(made, start)]))
                ml = [round(one, 1) for pair in zip(moved, seen) for one in pair]
                rows.append(
                    [f"{change:+g}", len(kept), name, *ml, None if db is None else round(db, 2), round(share, 4)]
                )
                key = f"edit_{change:+g}ml_{_key(name)}".replace("+", "plus_").replace("-", "minus_")
                found.figures |= {f"{key}_ventricle": round(moved[0], 2), f"{key}_ventricle_seen": round(seen[0], 2)}
                found.figures |= {f"{key}_brain": round(moved[1], 2), f"{key}_brain_seen": round(seen[1], 2)}
                found.figures[f"{key}_changed"] = round(share, 4)
                if db is not None:
                    found.figures[f"{key}_psnr"] = round(db, 3)
        columns = ["requested, mL", "subjects", "images", "ventricles, mL", "ventricles by the segmenter", "brain, mL"]
        title = "Ventricles changed, the rest kept: mean changes by two instruments (the first steers), and the "
        title += f"share of the brain that changes by more than {CLEARLY:g}"
        found.add(title, [*columns, "brain by the segmenter", "PSNR to the phantom, dB", "share changed"], rows)
        return found


def _phantoms(count: int, split: str, first: int, spacing_mm: float) -> np.ndarray:
    rows = BrainPhantomDataset(count, split=split, spacing_mm=spacing_mm, first=first)
    return np.stack([rows.image(row) for row in range(count)]).astype(np.float32)


def _hole(brain: np.ndarray, ml: float, seed: int, spacing_mm: float) -> np.ndarray:
    """An ellipsoid of `ml` within a brain, bool (D, H, W), its middle well below the surface."""
    rng = np.random.default_rng([seed, 86])
    deep = np.argwhere(ndi.distance_transform_edt(brain) > DEPTH_MM / spacing_mm)
    centre, scale = deep[rng.integers(len(deep))], np.exp(0.2 * rng.standard_normal(3))
    places = np.argwhere(brain)
    distance = (((places - centre) / scale) ** 2).sum(1)
    chosen = places[np.argsort(distance)[: int(round(ml / (spacing_mm**3 / 1000)))]]
    hole = np.zeros(brain.shape, bool)
    hole[tuple(chosen.T)] = True
    return hole


def _ssim(image: np.ndarray, truth: np.ndarray, where: np.ndarray) -> float:
    """Mean structural similarity within a mask, by scikit-image."""
    return float(structural_similarity(image, truth, data_range=1.0, full=True)[1][where].mean())


def _slope(image: np.ndarray, where: np.ndarray) -> float:
    """Mean squared slope within a mask."""
    return float(sum((slope**2)[where].mean() for slope in np.gradient(image)))


def _seen_ml(images: np.ndarray, spacing_mm: float) -> np.ndarray:
    """Ventricles and brain (2, N) of scans (N, D, H, W) in mL as the tissue network sees them."""
    sizes = segment(stack_on_grid(images, spacing_mm)).sum((2, 3, 4)).T * (SPACING_MM**3 / 1000)
    ventricle, grey, white = (sizes[CLASSES.index(name)] for name in ("ventricle", "gm", "wm"))
    return np.stack([ventricle, grey + white])


def _key(name: str) -> str:
    return name.replace(",", "").replace(" ", "_").replace("-", "_")
