"""Evaluation of super-resolution: truth and sharpness of unseen phantoms, and anomaly maps of thick slices.

A fine image is known exactly, and its scan is taken of it; every row reads the same scans. Interpolation adds
nothing, the regression gives the mean of what could have been, a sample one of it. A mean errs least and blurs, a
sample shall be as sharp as the truth, so both error and sharpness are reported. What needs no network stands beside
them: interpolations brought back to the scan, of which the trilinear is what the networks give with their first
weights, and B-splines sharpened until they have the truth's gradient energy. Controls are noise of the sample's size
instead of a sample, the detail of another head, and a noise level that is not the scan's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from monai.data import MetaTensor
from scipy import ndimage as ndi
from skimage.metrics import structural_similarity
from sklearn.metrics import average_precision_score
from tqdm import tqdm

from synthzoo.errors import UserError
from synthzoo.evaluation.base import Evaluation, Found
from synthzoo.evaluation.benchmark import machine_of
from synthzoo.evaluation.pictures import new_figure, save_figure
from synthzoo.inferers.brain_map import BrainMapInferer
from synthzoo.metrics.fidelity import gradient_energy, psnr
from synthzoo.metrics.localisation import dice
from synthzoo.networks.saving import digest_of
from synthzoo.phantoms.brain.phantom import BrainAnatomy
from synthzoo.phantoms.fields import solve_increasing
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
from synthzoo.systems.monai_generative.superresolution_heads import Head, phantom_head, sick_anatomy, template_head
from synthzoo.systems.monai_generative.superresolution_inferer import SuperResolutionInferer, Windows, share_of
from synthzoo.systems.monai_generative.superresolution_network import Upscaler
from synthzoo.transforms.head_grid import ToHeadGridd, resample

PROTOCOLS = {"thick": (1, 1, 4), "x2": (2, 2, 2), "x4": (4, 4, 4)}
TITLES = {"thick": "thick slices, 6 mm to 1.5 mm", "x2": "3 mm to 1.5 mm", "x4": "6 mm to 1.5 mm along each axis"}
CONTRASTS = ("T1w", "T2w", "FLAIR", "PD")  # training did not see the last one
NOISE = 0.015  # of the scans, where the brightest tissue is 0.8
NOISES = (0.0, 0.03, 0.06)
STEPS = (5, 10, 20)  # of the sampler, of which validation phantoms choose
TRUSTS = (0.005, 0.01, 0.02, 0.04, 0.08)  # of the inferer, too
ENOUGH = 0.02  # fewer steps are taken where sharpness is off by no more than this above the best
SHARPENED_AT = 1.5  # voxels, width of the Gaussian of an unsharp mask
MOST_SHARPENED = 20.0
COLUMNS = ("PSNR, dB", "SSIM", "sharpness", "r of the detail")
LINEAR, SPLINE = "trilinear", "B-spline"
FIRST, PROJECTED = "trilinear, brought back to the scan (first weights)", "B-spline, brought back to the scan"
SHARPENED = "B-spline, sharpened like the truth"
MEAN, SAMPLE = "regression of the same size", "diffusion"
CONTROL, SHUFFLED, CEILING = "regression and noise", "diffusion of another head", "autoencoder alone"
KEYS = {
    LINEAR: "linear",
    SPLINE: "spline",
    FIRST: "first_weights",
    PROJECTED: "projected",
    SHARPENED: "sharpened",
    MEAN: "mean",
    SAMPLE: "sample",
    CONTROL: "control",
    SHUFFLED: "shuffled",
}


class Pair(NamedTuple):
    """A fine image (1, 1, D, H, W), its scan (1, 1, d, h, w), and where there is brain, bool (D, H, W)."""

    fine: torch.Tensor
    scan: torch.Tensor
    mask: np.ndarray


class SuperResolutionEvaluation(Evaluation):
    """Measures a trained upscaler.

    Args:
        network: see `Upscaler`.
        subjects: of the split "test", for truth and sharpness; each in every contrast.
        crop: voxels of an edge of the part of a head that these are measured on, a multiple of 12.
        draws: samples in the mean of the row of several.
        map_network: of anomaly maps, with its brain extractor; None leaves that part out.
        map_inferer: of the maps.
        map_threshold: above which the map calls a lesion; goes with a network.
        figure: PNG of the thick slices; None draws nothing.
        cache_dir: of the phantoms.
        spacing_mm: of the fine images.
        heads: names of those whose anomaly maps are measured, of "template", "T1w", "FLAIR".
        shared: report, work_dir, parts, and the inferer whose settings are measured, see `Evaluation`.

    Raises:
        UserError: a crop that no grid divides, and what `Evaluation` says.
    """

    PARTS = ("truth", "draws", "noise", "anomaly_maps", "validation")

    def __init__(
        self,
        network: Upscaler,
        subjects: int = 2,
        crop: int = 72,
        draws: int = 4,
        map_network: torch.nn.Module | None = None,
        map_inferer: BrainMapInferer | None = None,
        map_threshold: float | None = None,
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
            "map_network": None if map_network is None else digest_of(map_network),
        }
        if int(crop) < 12 or int(crop) % 12:
            raise UserError(f"crop = {crop}: give a multiple of 12 voxels, which thick slices and large voxels divide.")
        super().__init__(network, settings=settings, **shared)
        self.subjects, self.crop, self.draw_count, self.heads = subjects, int(crop), int(draws), tuple(heads)
        self.map_network, self.map_inferer, self.map_threshold = map_network, map_inferer, map_threshold
        self.figure, self.cache_dir, self.spacing_mm = figure, cache_dir, float(spacing_mm)
        self._pools: dict[str, FinePhantoms] = {}

    def pool(self, split: str) -> FinePhantoms:
        """Subjects of a split: as many of "test" as are measured, one of "validation"."""
        if split not in self._pools:
            count = self.subjects if split == "test" else 1
            progress = partial(tqdm, desc=f"phantoms, {split}")
            self._pools[split] = FinePhantoms(split, count, self.cache_dir, self.spacing_mm, progress)
        return self._pools[split]

    def settings_of(self, **changed: Any) -> SuperResolutionInferer:
        """The bundle's inferer with other settings."""
        names = ("method", "steps", "draws", "noise", "trust", "seed", "autocast")
        own = {name: getattr(self.inferer, name) for name in names} | {"spacing_mm": self.spacing_mm}
        return SuperResolutionInferer(**{**own, **changed})

    def pair(
        self,
        subject: int,
        contrast: str,
        factors: tuple[int, int, int],
        noise: float = NOISE,
        split: str = "test",
    ) -> Pair:
        """The middle of a subject's head in a contrast, and its scan."""
        rng = np.random.default_rng([97, subject, CONTRASTS.index(contrast)])
        maps = self.pool(split)[subject]
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
    def rows_of(
        self, pair: Pair, factors: tuple[int, int, int], sample: torch.Tensor, elsewhere: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """The fine images of every row of the table.

        Args:
            pair: of a subject.
            factors: of its scan.
            sample: its sample.
            elsewhere: what the sample of another head adds to that head's interpolation.
        """
        low, spline = interpolated(pair.scan, factors), by_spline(pair.scan, factors)
        mean, _ = self.upscale(pair, factors, method="mean")
        share = share_of(self.inferer.trust, NOISE) if self.inferer.trust is not None else 0.0
        windows, generator = Windows(low, self.network), torch.Generator().manual_seed(0)

        def white(image: torch.Tensor) -> torch.Tensor:
            size = [n // self.network.factor for n in image.shape[2:]]
            noise = torch.randn((len(image), self.network.latent_channels, *size), generator=generator)
            return self.network.change(image, self.network.rest_scale * noise.to(image))

        noise = consistent(windows.blend(white, low), torch.zeros_like(pair.scan), factors, share, rounds=1)
        coded = windows.blend(
            lambda image, fine: self.network.change(image, self.network.detail(fine, image)), low, pair.fine
        )
        return {
            LINEAR: low,
            SPLINE: spline,
            FIRST: consistent(low, pair.scan, factors, share),
            PROJECTED: consistent(spline, pair.scan, factors, share_of(self.spline_trust[0], NOISE)),
            SHARPENED: sharpened(spline, pair),
            MEAN: mean,
            SAMPLE: sample,
            CONTROL: mean + noise * ((sample - mean).std() / noise.std().clamp_min(1e-6)),
            SHUFFLED: low + elsewhere,
            CEILING: low + coded,
        }

    def by_trust(self, upscale: Callable[[Pair, tuple[int, int, int]], tuple[torch.Tensor, float]]) -> list[list[Any]]:
        """Rows [trust, *scores] of images brought back to scans of the validation phantom.

        Args:
            upscale: (pair, factors) -> the fine image, and the noise that the scan is taken to have.
        """
        trusts: dict[float, list[list[float]]] = {trust: [] for trust in TRUSTS}
        for contrast in tqdm(CONTRASTS[:3], desc="trust"):
            for factors in (PROTOCOLS["thick"], PROTOCOLS["x2"]):
                pair = self.pair(0, contrast, factors, split="validation")
                low = interpolated(pair.scan, factors)
                plain, noise = upscale(pair, factors)
                for trust, rows in trusts.items():
                    rows.append(scores_of(consistent(plain, pair.scan, factors, share_of(trust, noise)), pair, low))
        return [[trust, *_means(rows)] for trust, rows in trusts.items()]

    @cached_property
    def spline_trust(self) -> tuple[float, list[list[Any]]]:
        """The trust that serves B-splines best on the validation phantom, as the network has its own, and the rows."""
        rows = self.by_trust(lambda pair, factors: (by_spline(pair.scan, factors), NOISE))
        return max(rows, key=lambda row: row[1])[0], rows

    def validation(self) -> Found:
        """Settings by a phantom of the split "validation": how far a noisy scan is trusted, and the sampler's steps."""

        def regression(pair: Pair, factors: tuple[int, int, int]) -> tuple[torch.Tensor, float]:
            image, facts = self.upscale(pair, factors, method="mean", trust=None)
            return image, facts["noise_of_scan"]

        found, by_trust = Found(), self.by_trust(regression)
        trust = max(by_trust, key=lambda row: row[1])[0]
        steps: dict[int, list[list[float]]] = {count: [] for count in STEPS}
        for contrast in tqdm(CONTRASTS[:3], desc="steps"):
            pair = self.pair(0, contrast, PROTOCOLS["thick"], split="validation")
            low = interpolated(pair.scan, PROTOCOLS["thick"])
            for count, rows in steps.items():
                changed = {"method": "sample", "steps": count, "draws": 1, "trust": trust}
                rows.append(scores_of(self.upscale(pair, PROTOCOLS["thick"], **changed)[0], pair, low))
        by_steps = [[count, *_means(rows)] for count, rows in steps.items()]
        found.add("A validation phantom, regression: trust in the mean over a voxel", ["trust", *COLUMNS], by_trust)
        title = "A validation phantom, B-spline: the same trust, of which the test takes the best"
        found.add(title, ["trust", *COLUMNS], self.spline_trust[1])
        found.add("A validation phantom, thick slices: steps of a sample", ["steps", *COLUMNS], by_steps)
        off = {row[0]: abs(1 - row[3]) for row in by_steps}
        found.figures |= {
            "validation_trust": trust,
            "validation_spline_trust": self.spline_trust[0],
            "validation_steps": min(count for count, far in off.items() if far <= min(off.values()) + ENOUGH),
        }
        return found

    def truth(self) -> Found:
        """Truth and sharpness of every row, of every grid and contrast."""
        found = Found()
        for name, factors in PROTOCOLS.items():
            scores: dict[str, dict[str, list[list[float]]]] = {}
            noises: list[float] = []
            for contrast in tqdm(CONTRASTS, desc=TITLES[name]):
                pairs = [self.pair(subject, contrast, factors) for subject in range(self.subjects)]
                samples, facts = zip(*(self.upscale(pair, factors, method="sample", draws=1) for pair in pairs))
                noises += [known["noise_of_scan"] for known in facts]
                added = [image - interpolated(pair.scan, factors) for image, pair in zip(samples, pairs)]
                for subject, pair in enumerate(pairs):
                    other = added[(subject + 1) % self.subjects]
                    other = other.flip(2) if self.subjects == 1 else other
                    images = self.rows_of(pair, factors, samples[subject], other)
                    for row, image in images.items():
                        one = scores_of(image, pair, images[LINEAR])
                        scores.setdefault(row, {}).setdefault(contrast, []).append(one)
                    if name == "thick" and subject == 0:
                        self._keep(contrast, pair, images)
            table = [[row, *_means([s for one in by.values() for s in one])] for row, by in scores.items()]
            found.add(f"Unseen phantoms, {TITLES[name]}", ["", *COLUMNS], table)
            found.figures[f"{name}_noise_read"] = round(float(np.mean(noises)), 4)
            for row, *values in table:
                if row in KEYS:
                    for column, value in zip(("psnr", "ssim", "sharpness", "r"), values):
                        found.figures[f"{name}_{KEYS[row]}_{column}"] = value
            for row in (MEAN, SAMPLE):
                off = abs(1 - found.figures[f"{name}_{KEYS[row]}_sharpness"])
                found.figures[f"{name}_{KEYS[row]}_unsharp"] = round(off, 4)
            if name == "thick":
                shown = (LINEAR, SPLINE, MEAN, SAMPLE)
                for column, title in ((0, "PSNR of thick slices by contrast, dB"), (2, "Sharpness by contrast")):
                    each: list[list[Any]] = [
                        [contrast, *(_means(scores[row][contrast])[column] for row in shown)] for contrast in CONTRASTS
                    ]
                    found.add(title, ["", *shown], each)
                    if column == 0:
                        found.figures["unseen_contrast_gain_db"] = round(each[-1][3] - each[-1][2], 3)
        first = {name: found.figures[name] for name in (f"thick_{KEYS[row]}_psnr" for row in (MEAN, SAMPLE, SPLINE))}
        found.figures = first | found.figures
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
        title = "Noise of the scan, thick slices, regression; where less is read than the level says, noise is added"
        found.add(title, columns, rows)
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

    @cached_property
    def anatomy(self) -> BrainAnatomy:
        """The phantom with a tumour, of every contrast."""
        return sick_anatomy(self.spacing_mm)

    def head(self, name: str) -> Head:
        """A head with a tumour: the T1w template of 1 mm, or a phantom of 1.5 mm in a contrast."""
        return template_head() if name == "template" else phantom_head(self.anatomy, name)

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
        if self.map_network is None or self.map_inferer is None or self.map_threshold is None:
            return found
        keys = {"fine scan": "fine", "thick slices": "thick", **KEYS}
        for name in self.heads:
            head = self.head(name)
            fine = torch.from_numpy(head.image)[None, None]
            scan = acquired(fine, head.factors).to(self.device)
            rows: list[list[Any]] = [["fine scan", *self._map_scores(fine, head)]]
            for version, make in self.versions(head, scan).items():
                start = self.clock()
                image = make()
                if version == SAMPLE:
                    found.figures[f"{name.lower()}_seconds"] = round(self.clock() - start, 1)
                rows.append([version, *self._map_scores(image.cpu(), head)])
            found.add(f"Anomaly map of a tumour in slices of 6 mm, {name}", ["of", "Dice", "AP"], rows)
            found.figures |= {f"{name.lower()}_{keys[row[0]]}_dice": row[1] for row in rows}
            found.figures |= {f"{name.lower()}_{keys[row[0]]}_ap": row[2] for row in rows}
        seconds = [[name, found.figures[f"{name.lower()}_seconds"]] for name in self.heads]
        found.add(f"Seconds for a sample of a head, {machine_of(self.device)}", ["head", "seconds"], seconds)
        return found

    def _map_scores(self, image: torch.Tensor, head: Head) -> list[float]:
        """Dice at the threshold and average precision of the map of an image, on the fine scan's grid.

        Where no brain is found in it there is no map, which is one of zeros.
        """
        whole = np.array(head.image.shape) / np.array(image.shape[2:])
        affine = head.affine @ np.diag([*whole, 1.0])
        affine[:3, 3] = (head.affine @ np.array([*((whole - 1) / 2), 1.0]))[:3]
        sample = {"image": MetaTensor(image[0].float().clone(), affine=torch.from_numpy(affine)), "case": "head"}
        on_grid = ToHeadGridd("image", 2.0, upright=True)(sample)["image"]
        assert self.map_inferer is not None and self.map_network is not None and self.map_threshold is not None
        grid = np.asarray(on_grid.affine, np.float64)
        try:
            heat = self.map_inferer(on_grid[None].as_subclass(torch.Tensor).to(self.device), self.map_network)
            own = resample(heat[0, 0].float().cpu().numpy(), grid, head.image.shape, head.affine)
        except UserError as error:
            print(f"anomaly map: {error}")
            own = np.zeros(head.image.shape, np.float32)
        mask = head.image > 0.05 * head.image.max()
        score = dice([own], [head.truth], [np.ones_like(head.truth)], self.map_threshold)
        ap = average_precision_score(head.truth[mask], own[mask])
        return [round(score, 4), round(float(ap), 4)]

    def _keep(self, contrast: str, pair: Pair, images: Mapping[str, torch.Tensor]) -> None:
        """Keep a plane along the slices for the picture."""
        names = (LINEAR, SPLINE, MEAN, SAMPLE)
        every = {"fine image": pair.fine, **{name: images[name] for name in names}}
        planes = {n: image[0, 0, self.crop // 2].cpu().clone() for n, image in every.items()}
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
    _, similar = structural_similarity(truth, shown, win_size=7, data_range=1.0, full=True)
    sharp = sharpness_of(shown, truth, mask)
    added, lacking = (shown - start)[mask], (truth - start)[mask]
    r = float(np.corrcoef(added, lacking)[0, 1]) if added.std() > 1e-6 else 0.0
    return [psnr(shown, truth, mask), float(similar[mask].mean()), sharp, r]


def sharpness_of(shown: np.ndarray, truth: np.ndarray, mask: np.ndarray) -> float:
    """Gradient energy of an image (D, H, W) over that of the truth, in the brain."""
    energies = gradient_energy(np.where(mask, np.stack([shown, truth]) + 2, 0), inside=0.5)  # dark tissue counts, too
    return float(energies[0] / energies[1])


def sharpened(image: torch.Tensor, pair: Pair) -> torch.Tensor:
    """An image (1, 1, D, H, W) by an unsharp mask, strong enough for the truth's gradient energy, or as it is."""
    shown, truth = (x[0, 0].cpu().numpy().astype(np.float64) for x in (image, pair.fine))
    edges = shown - ndi.gaussian_filter(shown, SHARPENED_AT)

    def sharpness(amount: float) -> float:
        return sharpness_of(shown + amount * edges, truth, pair.mask)

    amount = solve_increasing(sharpness, 1.0, 0.0, MOST_SHARPENED, steps=10)
    return image + torch.from_numpy(amount * edges)[None, None].to(image)


def _means(rows: Sequence[Sequence[float]]) -> list[float]:
    return [round(float(value), 4) for value in np.mean(rows, 0)]
