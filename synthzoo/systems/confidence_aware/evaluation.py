"""Evaluation of the anomaly map on phantom findings that no task imitates, beside its controls.

Findings come from `phantoms.chest`, are never used in training, and lie in patients of the test seeds. Every method
runs on the same radiographs. Pixels that are not black count: neither bars nor the edge of a collimator.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import ndimage as ndi
from scipy.stats import spearmanr
from sklearn.metrics import average_precision_score, roc_auc_score
from torch.nn import functional as F
from torch.utils.data import Dataset
from tqdm import tqdm

from synthzoo.evaluation.base import Evaluation, Found
from synthzoo.evaluation.pictures import new_figure, save_figure
from synthzoo.metrics import localisation as loc
from synthzoo.networks.weights import load_weights
from synthzoo.phantoms.chest.findings import KINDS
from synthzoo.systems.confidence_aware.ablation import MEMBERS, SIZE, setting
from synthzoo.systems.confidence_aware.inferer import ConfidenceMapInferer
from synthzoo.transforms.radiograph_grid import ToRadiographGridd

OURS, BRIGHT, DARK = "P-PII (shipped)", "equalised intensity, smoothed", "equalised intensity, inverted"
MEAN, POSITION = "distance from the mean radiograph", "position prior"
MIRRORED = "difference from the other side"
UNSURE, EDGES = "uncertainty alone", "edges, smoothed"
PLACE = "mean map of healthy training radiographs, no image"
CONTROLS = {BRIGHT: "bright", DARK: "dark", MEAN: "mean", POSITION: "position", MIRRORED: "mirrored"}  # in figures
CONTROLS |= {UNSURE: "uncertainty", EDGES: "edges", PLACE: "place"}
BINS = 20
DRAWN_UP_TO = 0.3  # of the map, and of 1 - confidence
ABLATED, FEW = 150, 8  # radiographs, and passes of each
MAPPED = 24  # healthy training radiographs of the mean map
DROPPED = (0.0, 0.1, 0.2)
KEPT = (1.0, 0.95, 0.9, 0.8, 0.6, 0.4, 0.2)


class ConfidenceEvaluation(Evaluation):
    """Localisation, calibration and use of the confidence, per finding, with controls, and the ablation.

    Args:
        network: trained `AnomalyConfidenceNetwork`.
        report, work_dir, parts, inferer: see `Evaluation`.
        images: test radiographs with findings and without, rows with "image", "mask" and "labels", see
            `ChestPhantomDataset` with masks and fixed exposures.
        training: healthy radiographs of training patients, for the mean and the deviation.
        preprocessing: of a row, as the bundle has it after the file is read.
        ablation_dir: folder of the members of `ablation.MEMBERS`, `<member>.pt`; those whose file is missing are left
            out.
        ablation_network: takes their weights.
        figure: picture that is written, see `draw_maps`; None writes none.
        count: test radiographs.
        references: training radiographs for the mean.
    """

    PARTS = ("localisation", "confidence", "ablation")

    def __init__(
        self,
        network: torch.nn.Module,
        images: Dataset,
        training: Dataset,
        preprocessing: Callable[[dict], dict],
        ablation_dir: str | Path | None = None,
        ablation_network: torch.nn.Module | None = None,
        count: int = 200,
        references: int = 100,
        figure: str | Path | None = None,
        **shared: Any,
    ) -> None:
        settings = {"count": count, "references": references, "ablation": []}
        super().__init__(network, settings=settings, **shared)
        self.figure = figure
        self.images, self.training, self.preprocessing = images, training, preprocessing
        self.ablation_dir, self.ablation_network = ablation_dir, ablation_network
        self.references = min(references, len(training))
        self.count = min(count, len(images))

    def localisation(self) -> Found:
        """Where findings are: every method, all findings and each."""
        data = self.cached("test", self._test)
        maps = self.cached("maps", self._maps)
        heats = {OURS: maps["mean"].numpy(), UNSURE: maps["uncertainty"].numpy(), **self._controls(data)}
        heats[PLACE] = np.broadcast_to(self.cached("place", self._place)["mean"].numpy(), heats[OURS].shape)
        found, boxes = summarise(heats, data), in_boxes(heats, data)
        return Found(found.tables + boxes.tables, found.figures | boxes.figures)

    def confidence(self) -> Found:
        """Calibration of the map, and whether its confidence says where it errs."""
        data, maps = self.cached("test", self._test), self.cached("maps", self._maps)
        seen, truth = data["seen"].numpy(), data["truth"].numpy() > 0
        mean, unsure = maps["mean"].numpy(), maps["uncertainty"].numpy()
        error = np.abs(mean - truth)
        found = Found()
        rho = float(spearmanr(unsure[seen], error[seen]).statistic)
        ill = truth.any((1, 2))
        rows = []
        score = np.array([m[s].mean() for m, s in zip(mean, seen)])
        doubt = np.array([u[s].mean() for u, s in zip(unsure, seen)])
        for share in DROPPED:
            kept = doubt <= np.quantile(doubt, 1 - share)
            auroc = float(roc_auc_score(ill[kept], score[kept])) if 0 < ill[kept].sum() < kept.sum() else None
            rows.append([f"{share:.0%}", int(kept.sum()), None if auroc is None else round(auroc, 3)])
            found.figures[f"image_auroc_dropped_{int(100 * share)}"] = rows[-1][-1]
        found.add(
            "Risk and coverage: images left when the least certain are dropped", ["dropped", "images", "AUROC"], rows
        )
        orders = {"by the confidence": unsure[seen], "by the map alone, its lowest values first": mean[seen]}
        found.add(
            "Risk and coverage: mean |score - truth| of the pixels that are kept",
            ["kept", *orders, "at random"],
            risk_coverage(orders, error[seen]),
        )
        curve = calibration_curve(mean[seen], truth[seen])
        found.add("Calibration: what share of the pixels of a score lies in a finding", *curve[1:])
        found.figures |= {"calibration_error": round(curve[0], 4), "spearman_uncertainty_error": round(rho, 4)}
        return found

    def ablation(self) -> Found:
        """Members of other tasks and of raw intensity: the same size, steps and images for all."""
        found, data, heats = Found(), self.cached("test", self._test), {}
        count = min(self.count, ABLATED)
        few = {name: value[:count] for name, value in data.items()}
        for member in MEMBERS:
            path = Path(self.ablation_dir or "") / f"{member}.pt"
            if self.ablation_network is None or not path.is_file():
                continue
            network = load_weights(self.ablation_network, path, self.device)
            grid = ToRadiographGridd("image", SIZE, intensity=setting(member, "intensity"))
            rows = tqdm(range(count), desc=member)
            maps = [self._map(self._prepared(row, grid), network, FEW)[0] for row in rows]
            small = torch.tensor(np.stack(maps))[:, None]
            size = tuple(few["seen"].shape[1:])
            heats[setting(member, "title")] = F.interpolate(small, size, mode="bilinear")[:, 0].numpy()
        if heats:
            rows, boxes = [], in_boxes(heats, few)
            seen, truth = few["seen"].numpy(), few["truth"].numpy() > 0
            for number, (name, heat) in enumerate(heats.items()):
                scores = loc.voxel_scores(list(heat), list(truth), list(seen))
                image = float(roc_auc_score(truth.any((1, 2)), [h[s].mean() for h, s in zip(heat, seen)]))
                inside = [table["rows"][-1][2 + number] for table in boxes.tables]
                rows.append([name, round(scores["ap"], 3), round(scores["auroc"], 3), round(image, 3), *inside])
            rows.append(["chance", round(scores["chance"], 3), 0.5, 0.5, 0.5, None])
            found.add(
                f"Ablation at {SIZE} x {SIZE}, the same steps, {count} images, {FEW} passes",
                ["task and input", "pixel AP", "pixel AUROC", "image AUROC", "box AUROC", "pointing game"],
                rows,
            )
        return found

    def draw(self, found: Mapping[str, Found]) -> None:
        """Radiographs with findings, their maps and confidences, the truth outlined."""
        if self.figure and "localisation" in found:
            draw_maps(self.cached("test", self._test), self.cached("maps", self._maps), self.figure)

    def _prepared(self, row: int, prepare: Callable[[dict], dict]) -> torch.Tensor:
        image = prepare({"image": self.images[row]["image"]})["image"]
        return torch.as_tensor(image).as_subclass(torch.Tensor).float()

    def _test(self) -> dict[str, torch.Tensor]:
        images, truths, kinds, boxes = [], [], [], []
        for row in tqdm(range(self.count), desc="test radiographs"):
            item = self.images[row]
            images.append(self._prepared(row, self.preprocessing))
            masks = item["mask"][2:] * item["labels"][:, None, None]
            truths.append(masks.amax(0))
            kinds.append(masks.bool())
            boxes.append(item["boxes"])
        image = torch.cat(images)
        return {
            "image": image,
            "seen": image > 0,
            "truth": torch.stack(truths).clamp(0, 1),
            "kinds": torch.stack(kinds),
            "boxes": torch.stack(boxes),
        }

    def _maps(self) -> dict[str, torch.Tensor]:
        images = self.cached("test", self._test)["image"]
        made = [self._map(image[None], self.network) for image in tqdm(images, desc="maps")]
        return {
            "mean": torch.tensor(np.stack([m for m, _ in made])),
            "uncertainty": torch.tensor(np.stack([u for _, u in made])),
        }

    def _place(self) -> dict[str, torch.Tensor]:
        """The mean (H, W) of the map over healthy training radiographs: what it says without looking."""
        rows = range(min(MAPPED, self.references))
        images = [self.preprocessing({"image": self.training[row]["image"]})["image"] for row in rows]
        maps = [self._map(torch.as_tensor(np.asarray(image)), self.network, FEW)[0] for image in images]
        return {"mean": torch.tensor(np.mean(maps, 0))}

    def _map(self, image: torch.Tensor, network: torch.nn.Module, passes: int = 0) -> tuple[np.ndarray, np.ndarray]:
        inferer = ConfidenceMapInferer(passes) if passes else self.inferer or ConfidenceMapInferer()
        out = inferer(image[None].to(self.device), network)
        return out["pred"][0, 0].cpu().numpy(), (1 - out["confidence"])[0, 0].cpu().numpy()

    def _controls(self, data: Mapping[str, torch.Tensor]) -> dict[str, np.ndarray]:
        """Maps that know only intensity or only places."""
        images, seen = data["image"].numpy(), data["seen"].numpy()
        known = [self.preprocessing({"image": self.training[row]["image"]})["image"] for row in range(self.references)]
        known = np.stack([np.asarray(image)[0] for image in known])
        mean, deviation = known.mean(0), np.maximum(known.std(0), 0.05)
        smooth = np.stack([loc.equalised_intensity(image, mask) for image, mask in zip(images, seen)])
        prior = ndi.gaussian_filter(
            data["truth"].numpy().mean(0), 4.0
        )  # of the test itself: the best that places can do
        return {
            BRIGHT: smooth,
            DARK: (1 - smooth) * seen,
            MEAN: np.stack([ndi.gaussian_filter(np.abs(image - mean) / deviation, 1.0) for image in images]),
            EDGES: np.stack([ndi.gaussian_gradient_magnitude(image, 1.0) * mask for image, mask in zip(images, seen)]),
            MIRRORED: np.stack([loc.asymmetry(image, mask, axis=1) for image, mask in zip(images, seen)]),
            POSITION: np.broadcast_to(prior, images.shape),
        }


def draw_maps(data: Mapping[str, torch.Tensor], maps: Mapping[str, torch.Tensor], path: str | Path) -> None:
    """PNG: for each kind of finding the first radiograph that shows it alone: image, map and confidence."""
    kinds = data["kinds"].flatten(2).any(2)
    chosen = [
        int(np.flatnonzero(alone)[0]) for alone in ((kinds.sum(1) == 1)[:, None] & kinds).numpy().T if alone.any()
    ]
    figure = new_figure(1.6 * len(chosen), 5.3, facecolor="black")
    axes = figure.subplots(3, len(chosen), squeeze=False)
    for column, row in zip(axes.T, chosen):
        image, truth = data["image"][row].numpy(), data["truth"][row].numpy()
        heat, unsure = maps["mean"][row].numpy(), maps["uncertainty"][row].numpy()
        column[0].imshow(image, cmap="gray", vmin=0, vmax=1)
        column[0].set_title(KINDS[int(kinds[row].int().argmax())], color="white", fontsize=8)
        column[1].imshow(heat, cmap="inferno", vmin=0, vmax=DRAWN_UP_TO)
        column[2].imshow(1 - unsure, cmap="gray", vmin=1 - DRAWN_UP_TO, vmax=1)
        for axis in column:
            axis.contour(truth, [0.5], colors="cyan", linewidths=0.6)
            axis.set_axis_off()
    save_figure(figure, path, pad=0.2)


def summarise(heats: Mapping[str, np.ndarray], data: Mapping[str, torch.Tensor]) -> Found:
    """Tables and figures of all methods over all findings and each."""
    found = Found()
    seen, truth, kinds = data["seen"].numpy(), data["truth"].numpy() > 0, data["kinds"].numpy()
    ill = truth.any((1, 2))
    rows = []
    for name, heat in heats.items():
        scores = loc.voxel_scores(list(heat), list(truth), list(seen))
        image = float(roc_auc_score(ill, [h[s].mean() for h, s in zip(heat, seen)]))
        rows.append([name, round(scores["ap"], 3), round(scores["auroc"], 3), round(image, 3)])
        if name == OURS:
            found.figures |= {"ap": round(scores["ap"], 4), "auroc": round(scores["auroc"], 4)}
            found.figures |= {"image_auroc": round(image, 4), "chance": round(scores["chance"], 4)}
        else:
            key = CONTROLS[name]
            found.figures[f"{key}_ap"] = round(scores["ap"], 4)
    rows.append(["chance", round(found.figures["chance"], 3), 0.5, 0.5])
    title = f"{int(ill.sum())} phantom radiographs with findings, {int((~ill).sum())} without"
    found.add(title, ["method", "pixel AP", "pixel AUROC", "image AUROC"], rows)
    rows = []
    for number, kind in enumerate(KINDS):
        own = np.flatnonzero(kinds[:, number].any((1, 2)))
        if not len(own):
            continue
        row: list[Any] = [kind, len(own), round(float(np.mean(kinds[own, number][seen[own]])), 4)]
        for heat in heats.values():
            # Other findings of the same image count neither for nor against.
            valid = seen[own] & ~(truth[own] & ~kinds[own, number])
            row.append(round(float(average_precision_score(kinds[own, number][valid], heat[own][valid])), 3))
        rows.append(row)
        found.figures[f"{kind}_ap"] = row[3]
    found.add("Pixel AP by finding", ["finding", "images", "chance", *heats], rows)
    return found


def in_boxes(heats: Mapping[str, np.ndarray], data: Mapping[str, torch.Tensor]) -> Found:
    """What is inside a finding's box against what is outside all boxes of the image, as those who have boxes measure.

    For each method the mean over boxes of the AUROC of pixels inside against outside, and the share of boxes that hold
    the image's highest value of those pixels. Findings whose box has no pixel that counts are left out.
    """
    found = Found()
    seen, boxes = data["seen"].numpy(), data["boxes"].numpy()
    scores: dict[str, dict[str, list[tuple[float, float]]]] = {kind: {name: [] for name in heats} for kind in KINDS}
    for row in range(len(seen)):
        inside = [_filled(box, seen.shape[1:]) for box in boxes[row]]
        outside = seen[row] & ~np.any(inside, 0)
        for kind, box in zip(KINDS, inside):
            if not (box & seen[row]).any() or not outside.any():
                continue
            truth = np.r_[np.ones((box & seen[row]).sum(), bool), np.zeros(outside.sum(), bool)]
            for name, heat in heats.items():
                values = np.r_[heat[row][box & seen[row]], heat[row][outside]]
                scores[kind][name].append((float(roc_auc_score(truth, values)), float(truth[values.argmax()])))
    first = next(iter(heats))
    every = {name: [pair for kind in KINDS for pair in scores[kind][name]] for name in heats}
    for number, (what, key) in enumerate({"AUROC": "auroc", "pointing game": "pointing"}.items()):
        rows: list[list[Any]] = []
        for kind, methods in {**scores, "all": every}.items():
            if methods[first]:
                means = [round(float(np.mean([pair[number] for pair in pairs])), 3) for pairs in methods.values()]
                rows.append([kind, len(methods[first]), *means])
        found.add(f"Inside a finding's box against outside all boxes: {what}", ["finding", "boxes", *heats], rows)
        if BRIGHT in heats:
            found.figures |= {f"box_{key}": rows[-1][2], f"box_{key}_bright": rows[-1][2 + list(heats).index(BRIGHT)]}
    return found


def _filled(box: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Mask (H, W) of a box x, y, w, h in pixels."""
    x, y, width, height = (int(number) for number in np.rint(box))
    mask = np.zeros(shape, bool)
    mask[max(y, 0) : max(y + height, 0), max(x, 0) : max(x + width, 0)] = True
    return mask


def risk_coverage(orders: Mapping[str, np.ndarray], error: np.ndarray) -> list[list]:
    """Rows of a risk-coverage curve: share kept, mean error (N,) of what each order keeps, and that at random.

    An order is a value (N,) for each pixel, of which the lowest are kept.
    """
    sums = [np.cumsum(error[np.argsort(values, kind="stable")], dtype=np.float64) for values in orders.values()]
    rows = []
    for share in KEPT:
        count = max(1, round(share * len(error)))
        rows.append(
            [
                f"{share:.0%}",
                *(round(float(total[count - 1] / count), 4) for total in sums),
                round(float(error.mean()), 4),
            ]
        )
    return rows


def calibration_curve(scores: np.ndarray, truth: np.ndarray) -> tuple[float, list[str], list[list]]:
    """Expected calibration error over `BINS` bins of the score, columns and rows of its table.

    ECE = sum_b n_b / n |mean score in b - share of findings in b|.
    """
    index = np.minimum((scores * BINS).astype(int), BINS - 1)
    error, rows = 0.0, []
    for number in range(BINS):
        inside = index == number
        if not inside.any():
            continue
        predicted, observed, share = float(scores[inside].mean()), float(truth[inside].mean()), float(inside.mean())
        error += share * abs(predicted - observed)
        rows.append([round(predicted, 3), round(observed, 3), round(share, 5)])
    return error, ["mean score", "share in a finding", "share of pixels"], rows
