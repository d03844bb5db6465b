"""Evaluation of anomaly maps of the brain on phantom lesions: tumours, white matter lesions, strokes.

Lesions come from `phantoms.brain`, are never used in training, and lie in subjects of the test seeds. All that is
compared runs on the same volumes, whatever the bundle: its own maps, and three that know only intensity. One threshold
per method serves all contrasts, because a map does not know the contrast of its scan; it is the value that one voxel in
200 of the healthy subjects exceeds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from tqdm import tqdm

from synthzoo.evaluation.base import Evaluation, Found
from synthzoo.evaluation.large_lesions import View, measure_large_lesions
from synthzoo.evaluation.map_figures import draw_rows
from synthzoo.inferers.brain_map import finish, smooth_inside, to_network
from synthzoo.metrics import localisation as loc
from synthzoo.phantoms.brain import phantom as brain
from synthzoo.phantoms.brain.contrast import SEQUENCES, render

LESIONS: dict[str, dict[str, Any]] = {
    "large tumour": {"tumour": {"core_ml": 6.0, "enhancing_ml": 10.0, "oedema_ml": 35.0}},
    "small tumour": {"tumour": {"core_ml": 2.0, "enhancing_ml": 5.0, "oedema_ml": 12.0}},
    "stroke": {"stroke": {"volume_ml": 20.0}},
    "white matter lesions": {"wmh_ml": 12.0},
}
Z_SCORE, EQUALISED = "intensity z-score from the template", "equalised intensity, smoothed"
INVERTED = "equalised intensity, inverted"
MIRRORED, PLACE = "difference from the other hemisphere", "healthy reference map, no image"
INTENSITY = {Z_SCORE: "z_score_ap", EQUALISED: "equalised_ap"}  # endings of figures
LARGE_INTENSITY = {EQUALISED: "equalised", INVERTED: "inverted", MIRRORED: "mirrored"}  # of those on large lesions


@dataclass
class Case:
    """A test volume on the network's grid: z-scores, brain mask, lesion truth, kind of lesion (or "healthy")."""

    volume: np.ndarray
    mask: np.ndarray
    truth: np.ndarray
    kind: str


class AnomalyMapEvaluation(Evaluation):
    """Scores of a bundle's maps and of baselines per contrast, and a picture.

    A subclass gives the maps of a volume by `network_maps`, and says in `SHIPPED` how the table calls the bundle's map,
    corrected by the healthy reference map, and in `RAW` which of `network_maps` it is before that.

    Args:
        network: trained, with a `grid`; what has a healthy reference map, see `MapParts`, is corrected by it.
        report, work_dir, parts, inferer: see `Evaluation`.
        subjects: test subjects; each has one kind of lesion, in turn.
        healthy: further subjects without lesions, for the thresholds.
        references: healthy subjects of other seeds, for the mean and the deviation of the z-score baseline.
        first_seed: of the test subjects.
        figure: PNG with one volume a contrast, its truth and its maps; None draws nothing.
        smooth_voxels: width of the Gaussian over the maps, as the inferer uses it.
        large_lesions: subjects of `evaluation.large_lesions`, at least 4; 0 leaves that part out.
        settings: of the subclass that decide the numbers.
    """

    PARTS: ClassVar[tuple[str, ...]] = ("contrasts", "large_lesions")
    SHIPPED: ClassVar[str]
    TITLE: ClassVar[str] = "the map"
    RAW: ClassVar[str]

    def __init__(
        self,
        network: torch.nn.Module,
        subjects: int = 8,
        healthy: int = 4,
        references: int = 16,
        first_seed: int = 200_000,
        figure: str | Path | None = None,
        smooth_voxels: float | None = None,
        large_lesions: int = 0,
        settings: Mapping[str, Any] | None = None,
        **shared: Any,
    ) -> None:
        deciding: dict[str, Any] = {
            "subjects": subjects,
            "healthy": healthy,
            "references": references,
            "first_seed": first_seed,
            "smooth_voxels": smooth_voxels,
        }
        if large_lesions:
            deciding["large_lesions"] = large_lesions
        super().__init__(network, settings={**deciding, **dict(settings or {})}, **shared)
        self.large_count = large_lesions
        self.subjects, self.healthy, self.references = subjects, healthy, references
        self.first_seed, self.smooth_voxels, self.figure = first_seed, smooth_voxels, figure

    def network_maps(self, volume: torch.Tensor) -> dict[str, np.ndarray]:
        """Maps (D, H, W) of z-scores (1, 1, D, H, W) by method, `RAW` among them; clipped to [0, 1] by who calls."""
        raise NotImplementedError

    def raw_map(self, volume: torch.Tensor) -> np.ndarray:
        """The map `RAW` alone."""
        return self.network_maps(volume)[self.RAW]

    def corrected(self) -> dict[str, tuple[str, int]]:
        """Method of `network_maps` -> what the table calls it once it is corrected, and its number in the network."""
        return {self.RAW: (self.SHIPPED, 0)}

    def drawn(self) -> list[str]:
        """Methods that the picture shows."""
        return [self.SHIPPED, Z_SCORE, EQUALISED]

    def endings(self) -> dict[str, str]:
        """Method -> ending of the figure of its voxel AP."""
        return {self.RAW: "raw_ap", **INTENSITY}

    def more_figures(self, name: str, ap: Mapping[str, float]) -> dict[str, float]:
        """Further figures of a contrast from the voxel AP of every method."""
        return {}

    def contrasts(self) -> Found:
        """Every contrast, beside chance and baselines."""
        cases, heats = {}, {}
        kinds = [*self.kinds, *["healthy"] * self.healthy]
        for name, contrast in SEQUENCES.items():
            cases[name] = [self._case(a, k, *contrast, i) for i, (a, k) in enumerate(zip(self.anatomies, kinds))]
            stored = self.cached(f"maps_{name}", partial(self.maps_of, cases[name], name))
            heats[name] = {key: list(maps.numpy()) for key, maps in stored.items()}
        if self.figure:
            rows = [(name, cases[name][n % self.subjects], heats[name]) for n, name in enumerate(cases)]
            maps = [{key: heat[key][n % self.subjects] for key in self.drawn()} for n, (_, _, heat) in enumerate(rows)]
            titles = [f"{name}, {case.kind}" for name, case, _ in rows]
            draw_rows([c.volume for _, c, _ in rows], [c.truth for _, c, _ in rows], maps, titles, self.figure)
        return self._summarise(cases, heats)

    def large_lesions(self) -> Found:
        """Lesions of 5 to 200 mL, cut fields of view and remains of the head, in FLAIR and T1Gd."""
        if not self.large_count:
            return Found()
        endings = {self.RAW: "raw", **LARGE_INTENSITY}
        return measure_large_lesions(self.read, self.large_count, self.SHIPPED, endings, cached=self.cached)

    def read(self, view: View) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray, np.ndarray]:
        """Maps of a view, shipped, raw and of what needs no network; truth, mask and remains on their grid."""
        volume, mask, (source, target) = to_network(view.image, view.mask, self.network.grid)
        truth, beyond = np.zeros((2, *volume.shape), bool)
        truth[target], beyond[target] = view.truth[source], view.beyond[source]
        with torch.no_grad():
            heat = self.raw_map(torch.from_numpy(volume)[None, None].to(self.device))
        raw = smooth_inside(np.clip(heat, 0, 1), mask, self.smooth_voxels).astype(np.float32)
        equal = loc.equalised_intensity(volume, mask)
        maps = {self.SHIPPED: finish(raw, mask, None, self.network), self.RAW: raw}
        maps |= {EQUALISED: equal, INVERTED: (1 - equal) * mask, MIRRORED: loc.asymmetry(volume, mask)}
        if hasattr(self.network, "reference"):
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
        corrected = self.corrected()
        for case in tqdm(cases, desc=name):
            image = torch.from_numpy(case.volume)[None, None].to(self.device)
            with torch.no_grad():
                maps = self.network_maps(image)
            for key, heat in maps.items():
                heat = smooth_inside(np.clip(heat, 0, 1), case.mask, self.smooth_voxels).astype(np.float32)
                heats.setdefault(key, []).append(heat)
                if key in corrected:
                    title, method = corrected[key]
                    heats.setdefault(title, []).append(finish(heat, case.mask, None, self.network, method))
            equal = loc.equalised_intensity(case.volume, case.mask)
            heats.setdefault(Z_SCORE, []).append(loc.distance_from_mean(case.volume, case.mask, mean, deviation))
            heats.setdefault(EQUALISED, []).append(equal)
            heats.setdefault(INVERTED, []).append((1 - equal) * case.mask)
        return heats

    def _summarise(self, cases: dict[str, list[Case]], heats: dict[str, dict[str, list]]) -> Found:
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
                if key == self.SHIPPED:
                    names = ("ap", "auroc", "slice_ap", "dice")
                    figures |= {f"{name}_{what}": round(value, 4) for what, value in zip(names, row)}
            figures[f"{name}_chance"] = round(chance, 4)
            rows.append(["chance", round(chance, 3), 0.5, None, None])
            count = f"{len(sick[name])} phantoms with lesions, thresholds from {len(well[name])} healthy ones"
            found.add(f"{name}: {count}", columns, rows)
            figures |= {f"{name}_{ending}": round(ap[key], 4) for key, ending in self.endings().items()}
            figures |= self.more_figures(name, ap)
        found.tables.append(self._by_lesion(cases, heats, sick))
        inside = {
            name: [float(h[c.mask].mean()) for h, c in zip(heats[name][self.SHIPPED], cases[name])] for name in cases
        }
        for word, which in (("healthy", well), ("lesions", sick)):
            scores = [inside[name][i] for name in cases for i in which[name]]
            figures[f"image_score_{word}"] = round(float(np.mean(scores)), 4)
        figures["threshold"] = round(float(thresholds[self.SHIPPED]), 3)
        return found

    def _by_lesion(
        self, cases: Mapping[str, list[Case]], heats: Mapping[str, dict[str, list]], sick: Mapping[str, list[int]]
    ) -> dict:
        """Voxel AP of the bundle's map per kind of lesion, the mean over its volumes."""
        rows = []
        for kind in LESIONS:
            row: list[Any] = [kind]
            for name, of in cases.items():
                own = [i for i in sick[name] if of[i].kind == kind]
                scores = [
                    loc.voxel_scores([heats[name][self.SHIPPED][i]], [of[i].truth], [of[i].mask])["ap"] for i in own
                ]
                row.append(round(float(np.mean(scores)), 3) if scores else None)
            rows.append(row)
        return {"title": f"Voxel AP of {self.TITLE} by kind of lesion", "columns": ["lesion", *cases], "rows": rows}
