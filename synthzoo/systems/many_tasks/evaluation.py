"""Evaluation of the anomaly map on phantom lesions that no task imitates: tumours, white matter lesions, strokes.

Lesions come from `phantoms.brain`, are never used in training, and lie in subjects of the test seeds. Everything that
is compared runs on the same volumes: the ensemble, single tasks and their ensemble, and three maps that know only
intensity. One threshold per method serves all contrasts, because a map does not know the contrast of its scan; it is
the value that one voxel in 200 of the healthy subjects exceeds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from synthzoo.evaluation.base import Evaluation, Found
from synthzoo.evaluation.large_lesions import View, measure_large_lesions
from synthzoo.metrics import localisation as loc
from synthzoo.networks.weights import load_weights
from synthzoo.phantoms.brain import phantom as brain
from synthzoo.phantoms.brain.contrast import SEQUENCES, render
from synthzoo.systems.many_tasks.figures import draw_rows
from synthzoo.systems.many_tasks.inferer import finish, smooth_inside, to_network
from synthzoo.systems.many_tasks.network import TASKS, ManyTasksEnsemble

LESIONS: dict[str, dict[str, Any]] = {
    "large tumour": {"tumour": {"core_ml": 6.0, "enhancing_ml": 10.0, "oedema_ml": 35.0}},
    "small tumour": {"tumour": {"core_ml": 2.0, "enhancing_ml": 5.0, "oedema_ml": 12.0}},
    "stroke": {"stroke": {"volume_ml": 20.0}},
    "white matter lesions": {"wmh_ml": 12.0},
}
ENSEMBLE, RAW, SINGLE = "ensemble (shipped)", "ensemble, not calibrated", "ensemble of single tasks"
Z_SCORE, EQUALISED = "intensity z-score from the template", "equalised intensity, smoothed"
INVERTED = "equalised intensity, inverted"
MIRRORED, PLACE = "difference from the other hemisphere", "healthy reference map, no image"
ENDINGS = {RAW: "raw_ap", Z_SCORE: "z_score_ap", EQUALISED: "equalised_ap"}  # of figures beside the ensemble's
LARGE_ENDINGS = {RAW: "raw", EQUALISED: "equalised", INVERTED: "inverted", MIRRORED: "mirrored"}  # on large lesions


@dataclass
class Case:
    """A test volume on the network's grid: z-scores, brain mask, lesion truth, kind of lesion (or "healthy")."""

    volume: np.ndarray
    mask: np.ndarray
    truth: np.ndarray
    kind: str


class AnomalyEvaluation(Evaluation):
    """Scores of the ensemble, of single tasks and of baselines per contrast, and a picture.

    Args:
        network: trained `AnomalyMapNetwork`.
        report, work_dir, parts: see `Evaluation`.
        subjects: test subjects; each has one kind of lesion, in turn.
        healthy: further subjects without lesions, for the thresholds.
        references: healthy subjects of other seeds, for the mean and the deviation of the z-score baseline.
        first_seed: of the test subjects.
        figure: PNG with one volume a contrast, its truth and its maps; None draws nothing.
        single_tasks: weights of an ensemble of single-task members, or None to do without them.
        single_network: that ensemble, untrained; its members are built as the network's.
        smooth_voxels: width of the Gaussian over the maps, as the inferer uses it.
        large_lesions: subjects of `evaluation.large_lesions`, at least 4; 0 leaves that part out.
    """

    PARTS = ("contrasts", "large_lesions")

    def __init__(
        self,
        network: torch.nn.Module,
        subjects: int = 8,
        healthy: int = 4,
        references: int = 16,
        first_seed: int = 200_000,
        figure: str | Path | None = None,
        single_tasks: str | None = None,
        single_network: ManyTasksEnsemble | None = None,
        smooth_voxels: float | None = None,
        large_lesions: int = 0,
        **shared: Any,
    ) -> None:
        settings: dict[str, Any] = {
            "subjects": subjects,
            "healthy": healthy,
            "references": references,
            "first_seed": first_seed,
        }
        settings |= {"smooth_voxels": smooth_voxels, "single_tasks": single_tasks is not None}
        if large_lesions:
            settings["large_lesions"] = large_lesions
        super().__init__(network, settings=settings, **shared)
        self.large_count = large_lesions
        self.subjects, self.healthy, self.references = subjects, healthy, references
        self.first_seed, self.smooth_voxels, self.figure = first_seed, smooth_voxels, figure
        self.single = load_weights(single_network, single_tasks, self.device) if single_tasks else None

    def contrasts(self) -> Found:
        """Every contrast, beside chance, single tasks and baselines."""
        cases, heats = {}, {}
        kinds = [*self.kinds, *["healthy"] * self.healthy]
        for name, contrast in SEQUENCES.items():
            cases[name] = [self._case(a, k, *contrast, i) for i, (a, k) in enumerate(zip(self.anatomies, kinds))]
            stored = self.cached(f"maps_{name}", partial(self.maps_of, cases[name], name))
            heats[name] = {key: list(maps.numpy()) for key, maps in stored.items()}
        if self.figure:
            shown = [ENSEMBLE, *([SINGLE] if self.single else []), Z_SCORE, EQUALISED]
            rows = [(name, cases[name][n % self.subjects], heats[name]) for n, name in enumerate(cases)]
            maps = [{key: heat[key][n % self.subjects] for key in shown} for n, (_, _, heat) in enumerate(rows)]
            titles = [f"{name}, {case.kind}" for name, case, _ in rows]
            draw_rows([c.volume for _, c, _ in rows], [c.truth for _, c, _ in rows], maps, titles, self.figure)
        return summarise(cases, heats, self.single is not None)

    def large_lesions(self) -> Found:
        """Lesions of 5 to 200 mL, cut fields of view and remains of the head, in FLAIR and T1Gd."""
        if not self.large_count:
            return Found()
        return measure_large_lesions(self.read, self.large_count, ENSEMBLE, LARGE_ENDINGS, cached=self.cached)

    def read(self, view: View) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray, np.ndarray]:
        """Maps of a view, shipped, raw and of what needs no network; truth, mask and remains on their grid."""
        volume, mask, (source, target) = to_network(view.image, view.mask, self.network.grid)
        truth, beyond = np.zeros((2, *volume.shape), bool)
        truth[target], beyond[target] = view.truth[source], view.beyond[source]
        with torch.no_grad():
            heat = self.network(torch.from_numpy(volume)[None, None].to(self.device))[0, 0].cpu().numpy()
        raw = smooth_inside(np.clip(heat, 0, 1), mask, self.smooth_voxels).astype(np.float32)
        equal = loc.equalised_intensity(volume, mask)
        maps = {ENSEMBLE: finish(raw, mask, None, self.network), RAW: raw}
        maps |= {EQUALISED: equal, INVERTED: (1 - equal) * mask, MIRRORED: loc.asymmetry(volume, mask)}
        maps[PLACE] = self.network.reference().cpu().numpy() * mask
        return maps, truth & mask, mask, beyond & mask

    @property
    def kinds(self) -> list[str]:
        """The kind of lesion of each subject with one."""
        return [list(LESIONS)[row % len(LESIONS)] for row in range(self.subjects)]

    @cached_property
    def anatomies(self) -> list:
        """The subjects with lesions, then the healthy ones."""
        kinds = [*self.kinds, *["healthy"] * self.healthy]
        return [self._anatomy(row, kind) for row, kind in enumerate(tqdm(kinds, desc="test subjects"))]

    @cached_property
    def others(self) -> list:
        """The healthy subjects of the z-score baseline."""
        return [self._anatomy(-1 - row, "healthy") for row in tqdm(range(self.references), desc="references")]

    def maps_of(self, cases: list[Case], name: str) -> dict[str, torch.Tensor]:
        """Maps (N, D, H, W) of the cases of one contrast by method."""
        contrast = SEQUENCES[name]
        known = [self._case(a, "healthy", *contrast, -1 - i) for i, a in enumerate(self.others)]
        return {key: torch.from_numpy(np.stack(maps)) for key, maps in self._heats(cases, known, name).items()}

    def _anatomy(self, index: int, kind: str) -> brain.BrainAnatomy:
        # References have seeds below the test subjects', among the validation seeds.
        params = brain.draw_params(self.first_seed + index)
        return brain.make_anatomy(brain.BrainParams(**{**params.to_dict(), **LESIONS.get(kind, {})}), 2.0)

    def _case(self, anatomy: brain.BrainAnatomy, kind: str, contrast: str, gadolinium: bool, index: int) -> Case:
        image = render(anatomy, contrast, seed=self.first_seed + index, gadolinium=gadolinium)
        lesion = sum(anatomy.lesions.values(), np.zeros(image.shape, np.float32))
        volume, mask, (source, target) = to_network(image, anatomy.mask & (image > 0), self.network.grid)
        truth = np.zeros(volume.shape, bool)
        truth[target] = lesion[source] > 0.5
        return Case(volume, mask, truth & mask, kind)

    def _heats(self, cases: list[Case], known: list[Case], name: str) -> dict[str, list[np.ndarray]]:
        """The maps of every method over all cases of one contrast."""
        heats: dict[str, list] = {}
        mean, deviation = np.mean([c.volume for c in known], 0), np.std([c.volume for c in known], 0)
        for case in tqdm(cases, desc=name):
            for key, heat in self._network_maps(case.volume).items():
                heat = smooth_inside(np.clip(heat, 0, 1), case.mask, self.smooth_voxels).astype(np.float32)
                heats.setdefault(key, []).append(heat)
                if key == RAW:
                    heats.setdefault(ENSEMBLE, []).append(finish(heat, case.mask, None, self.network))
            equal = loc.equalised_intensity(case.volume, case.mask)
            heats.setdefault(Z_SCORE, []).append(loc.distance_from_mean(case.volume, case.mask, mean, deviation))
            heats.setdefault(EQUALISED, []).append(equal)
            heats.setdefault(INVERTED, []).append((1 - equal) * case.mask)
        return heats

    def _network_maps(self, volume: np.ndarray) -> dict[str, np.ndarray]:
        image = torch.from_numpy(volume)[None, None].to(self.device)
        with torch.no_grad():
            maps = {RAW: self.network(image)[0, 0].cpu().numpy()}
            if self.single is not None:
                members = self.single.member_maps(image)[:, 0, 0].cpu().numpy()
                maps |= {f"single task: {task}": heat for task, heat in zip(TASKS, members)}
                maps[SINGLE] = members.mean(0)
        return maps


def summarise(cases: dict[str, list[Case]], heats: dict[str, dict[str, list]], single: bool) -> Found:
    """Tables and figures from the maps of every method, by contrast."""
    methods = list(next(iter(heats.values())))
    well = {name: [i for i, case in enumerate(of) if case.kind == "healthy"] for name, of in cases.items()}
    sick = {name: [i for i, case in enumerate(of) if case.kind != "healthy"] for name, of in cases.items()}
    thresholds = {}
    for key in methods:
        maps = [heats[name][key][i] for name in cases for i in well[name]]
        masks = [cases[name][i].mask for name in cases for i in well[name]]
        thresholds[key] = loc.healthy_threshold(maps, masks)
    found = Found()
    figures = found.figures
    columns = ["method", "voxel AP", "voxel AUROC", "slice AP", "Dice"]
    for name, of in cases.items():
        masks, truths = [of[i].mask for i in sick[name]], [of[i].truth for i in sick[name]]
        rows, ap = [], {}
        for key in methods:
            maps = [heats[name][key][i] for i in sick[name]]
            scores = loc.voxel_scores(maps, truths, masks)
            row = scores["ap"], scores["auroc"], loc.slice_ap(maps, truths, masks)
            row = [*row, loc.dice(maps, truths, masks, thresholds[key])]
            rows.append([key, *(round(value, 3) for value in row)])
            ap[key], chance = scores["ap"], scores["chance"]
            if key == ENSEMBLE:
                names = ("ap", "auroc", "slice_ap", "dice")
                figures |= {f"{name}_{what}": round(value, 4) for what, value in zip(names, row)}
        figures[f"{name}_chance"] = round(chance, 4)
        rows.append(["chance", round(chance, 3), 0.5, None, None])
        count = f"{len(sick[name])} phantoms with lesions, thresholds from {len(well[name])} healthy ones"
        found.add(f"{name}: {count}", columns, rows)
        figures |= {f"{name}_{ending}": round(ap[key], 4) for key, ending in ENDINGS.items()}
        if single:
            tasks = [value for key, value in ap.items() if key.startswith("single task")]
            figures[f"{name}_single_task_ap"] = round(float(np.mean(tasks)), 4)
    found.tables.append(_by_lesion(cases, heats, sick))
    inside = {name: [float(h[c.mask].mean()) for h, c in zip(heats[name][ENSEMBLE], cases[name])] for name in cases}
    for word, which in (("healthy", well), ("lesions", sick)):
        scores = [inside[name][i] for name in cases for i in which[name]]
        figures[f"image_score_{word}"] = round(float(np.mean(scores)), 4)
    figures["threshold"] = round(float(thresholds[ENSEMBLE]), 3)
    return found


def _by_lesion(
    cases: Mapping[str, list[Case]], heats: Mapping[str, dict[str, list]], sick: Mapping[str, list[int]]
) -> dict:
    """Voxel AP of the ensemble per kind of lesion, the mean over its volumes."""
    rows = []
    for kind in LESIONS:
        row: list[Any] = [kind]
        for name, of in cases.items():
            own = [i for i in sick[name] if of[i].kind == kind]
            scores = [loc.voxel_scores([heats[name][ENSEMBLE][i]], [of[i].truth], [of[i].mask])["ap"] for i in own]
            row.append(round(float(np.mean(scores)), 3) if scores else None)
        rows.append(row)
    return {"title": "Voxel AP of the ensemble by kind of lesion", "columns": ["lesion", *cases], "rows": rows}
