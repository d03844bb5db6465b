"""Evaluation of the anomaly map on phantom lesions that no task imitates: tumours, white matter lesions, strokes.

Lesions come from `phantoms.brain`, are never used in training, and lie in subjects of the test seeds.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from synthzoo.data.files import write_json
from synthzoo.inferers.anomaly_map import smooth_inside, to_network
from synthzoo.metrics import localisation as loc
from synthzoo.phantoms import brain
from synthzoo.phantoms.brain_contrast import render

CONTRASTS = {"T1w": ("T1w", False), "T1Gd": ("T1w", True), "T2w": ("T2w", False), "FLAIR": ("FLAIR", False)}
LESIONS = (
    {"tumour": {"core_ml": 6.0, "enhancing_ml": 10.0, "oedema_ml": 35.0}},
    {"tumour": {"core_ml": 2.0, "enhancing_ml": 5.0, "oedema_ml": 12.0}},
    {"stroke": {"volume_ml": 20.0}},
    {"wmh_ml": 12.0},
)


class AnomalyEvaluation:
    """Scores of the ensemble, its members and two baselines per contrast, written as `metrics.json`.

    Args:
        network: trained `AnomalyMapNetwork`.
        subjects: test subjects; each has one kind of lesion, in turn.
        healthy: further subjects without lesions, for the threshold and the baselines' mean.
        first_seed: of the test subjects.
        save_to: the metrics file.
        command: what a reader types to get the same numbers.
        single_tasks: None, or a state dict of an ensemble of single-task members, for comparison.
        smooth_voxels: width of the Gaussian over the maps, as the inferer uses it.
        device: where the network runs.
    """

    def __init__(
        self,
        network,
        subjects: int = 12,
        healthy: int = 6,
        first_seed: int = 200_000,
        save_to: str = "docs/metrics.json",
        command: str = "",
        single_tasks: str | None = None,
        smooth_voxels: float | None = None,
        device="cpu",
    ):
        self.network, self.device = network.eval(), device
        self.subjects, self.healthy, self.first_seed = subjects, healthy, first_seed
        self.save_to, self.command = Path(save_to), command
        self.single_tasks, self.smooth_voxels = single_tasks, smooth_voxels

    def run(self) -> dict:
        """Evaluate every contrast; returns and writes the tables."""
        columns = ["method", "voxel AP", "voxel AUROC", "slice AP", "Dice"]
        tables, figures = [], {}
        sick, well = self._anatomies()
        for name, (contrast, gadolinium) in CONTRASTS.items():
            rows, found = self._contrast(sick, well, contrast, gadolinium, name)
            tables.append({"title": f"{name}, {len(sick)} phantoms with lesions", "columns": columns, "rows": rows})
            figures |= {f"{name}_{key}": value for key, value in found.items()}
        values = [figures[f"{name}_threshold"] for name in CONTRASTS]
        figures["threshold"] = round(float(max(values)), 3)
        result = {"command": self.command, "tables": tables, "figures": figures}
        write_json(self.save_to, result)
        print(json.dumps(figures, indent=1))
        return result

    def _anatomies(self):
        sick, well = [], []
        for i in tqdm(range(self.subjects + self.healthy), desc="test subjects"):
            params = brain.draw_params(self.first_seed + i)
            extra = LESIONS[i % len(LESIONS)] if i < self.subjects else {}
            anatomy = brain.make_anatomy(brain.BrainParams(**{**params.to_dict(), **extra}), 2.0)
            (sick if extra else well).append(anatomy)
        return sick, well

    def _contrast(self, sick, well, contrast, gadolinium, name):
        volumes, masks, truths = [], [], []
        for i, anatomy in enumerate(tqdm(sick + well, desc=name)):
            image = render(anatomy, contrast, seed=self.first_seed + i, gadolinium=gadolinium)
            lesion = sum(anatomy.lesions.values()) if anatomy.lesions else np.zeros(image.shape, np.float32)
            volume, mask, (source, target) = to_network(image, anatomy.mask & (image > 0), self.network.grid)
            truth = np.zeros(volume.shape, bool)
            truth[target] = lesion[source] > 0.5
            volumes.append(volume), masks.append(mask), truths.append(truth & mask)
        heats: dict[str, list] = {}
        for volume, mask in zip(tqdm(volumes, desc="maps"), masks):
            for key, heat in self._maps(volume).items():
                heats.setdefault(key, []).append(smooth_inside(np.clip(heat, 0, 1), mask, self.smooth_voxels))
        n = len(sick)
        mean, spread = np.mean(volumes[n:], 0), np.std(volumes[n:], 0)
        heats["intensity z-score"] = [loc.distance_from_mean(v, m, mean, spread) for v, m in zip(volumes, masks)]
        equal = [loc.equalised_intensity(v, m) for v, m in zip(volumes, masks)]
        heats["equalised intensity"] = equal
        heats["equalised intensity, inverted"] = [(1 - e) * m for e, m in zip(equal, masks)]
        rows, figures = [], {}
        for key, maps in heats.items():
            scores = loc.voxel_scores(maps[:n], truths[:n], masks[:n])
            threshold = loc.healthy_threshold(maps[n:], masks[n:])
            slices = loc.slice_ap(maps[:n], truths[:n], masks[:n])
            overlap = loc.dice(maps[:n], truths[:n], masks[:n], threshold)
            rows.append([key, *(round(v, 3) for v in (scores["ap"], scores["auroc"], slices, overlap))])
            if key == "ensemble":
                figures = {
                    "ap": round(scores["ap"], 4),
                    "chance": round(scores["chance"], 4),
                    "auroc": round(scores["auroc"], 4),
                }
                figures |= {"dice": round(overlap, 4), "threshold": round(threshold, 4), "slice_ap": round(slices, 4)}
                healthy = float(np.mean([h[m].mean() for h, m in zip(maps[n:], masks[n:])]))
                figures |= {"score_healthy": round(healthy, 5)}
                figures |= {
                    "score_lesion": round(float(np.mean([h[m].mean() for h, m in zip(maps[:n], masks[:n])])), 5)
                }
            else:
                figures[f"ap {key}"] = round(scores["ap"], 4)
        rows.append(["chance", round(figures["chance"], 3), 0.5, "-", "-"])
        return rows, figures

    def _maps(self, volume: np.ndarray) -> dict[str, np.ndarray]:
        image = torch.from_numpy(volume)[None, None].to(self.device)
        with torch.no_grad():
            maps = {"ensemble": self.network(image)[0, 0].cpu().numpy()}
        return maps
