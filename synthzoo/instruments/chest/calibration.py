"""Scales and stated errors of the chest instruments, with controls: set right on VAL, measured on TEST patients."""

from __future__ import annotations

from pathlib import Path
from typing import SupportsFloat

import numpy as np
from sklearn.linear_model import LogisticRegression

from synthzoo.instruments.chest import findings as chest_findings
from synthzoo.instruments.chest.findings import box_of, enlarged, raw_maps, scores_of
from synthzoo.instruments.chest.heart import DRAWN, find_organs, raw_ratios
from synthzoo.instruments.chest.identity import embed
from synthzoo.instruments.chest.phantoms import FIRST, PATIENTS, POOLS, SIZE, STUDIES, instrument_cases
from synthzoo.io.files import write_json
from synthzoo.metrics.agreement import conditioning
from synthzoo.metrics.reidentification import auc, auc_interval, pixel_scores
from synthzoo.phantoms.chest.findings import KINDS
from synthzoo.phantoms.chest.truth import ENLARGED

NEIGHBOURS = 15  # of the control that looks at raw pixels
SHUFFLES = 20


def rounded(value: SupportsFloat) -> float:
    """A figure with four digits."""
    return round(float(value), 4)


def fit_logistic(scores: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Slope and offset that turn scores (N,) into log odds; a label that is constant gives a slope of 1."""
    if len(np.unique(labels)) < 2:
        return {"slope": 1.0, "offset": 0.0}
    fitted = LogisticRegression(C=1.0).fit(scores[:, None], labels)
    return {"slope": round(float(fitted.coef_[0, 0]), 5), "offset": round(float(fitted.intercept_[0]), 5)}


def split_scores(scores: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scores of studies with a finding, and of those without."""
    return scores[labels > 0], scores[labels == 0]


def finding_errors(trained: dict, test: dict, scores: np.ndarray, maps: np.ndarray, scales: dict) -> dict:
    """For each kind: AUROC with interval, error of the probability, pointing game and overlap of boxes, controls."""
    near = np.argsort(-pixel_scores(test["image"], trained["image"]), 1)[:, :NEIGHBOURS]
    rng, found = np.random.default_rng(0), {}
    for n, kind in enumerate(KINDS):
        labels = test["labels"][:, n]
        positives, negatives = split_scores(scores[:, n], labels)
        probability = 1 / (1 + np.exp(-(scales[kind]["slope"] * scores[:, n] + scales[kind]["offset"])))
        prior = trained["mask"][trained["labels"][:, n] > 0, 2 + n].mean(0)
        mean_area = test["mask"][labels > 0, 2 + n].mean()
        shown = np.flatnonzero(labels > 0)
        raw = trained["labels"][near, n].mean(1)
        shuffled = [auc(*split_scores(scores[:, n], rng.permutation(labels))) for _ in range(SHUFFLES)]
        low, high = auc_interval(positives, negatives)
        found[kind] = {
            "auroc": rounded(auc(positives, negatives)),
            "interval": [rounded(low), rounded(high)],
            "brier": rounded(((probability - labels) ** 2).mean()),
            "pointing": rounded(np.mean([_points(maps[row, n], test["mask"][row, 2 + n]) for row in shown])),
            "box_iou": rounded(np.mean([_box_overlap(maps[row, n], test["boxes"][row, n]) for row in shown])),
            "positives": len(positives),
            "negatives": len(negatives),
            "controls": {
                "auroc_raw_pixels": rounded(auc(*split_scores(raw, labels))),
                "auroc_shuffled": rounded(np.mean(shuffled)),
                "pointing_prior": rounded(np.mean([_points(prior, test["mask"][row, 2 + n]) for row in shown])),
                "pointing_chance": rounded(mean_area),
                "brier_share": rounded(((trained["labels"][:, n].mean() - labels) ** 2).mean()),
            },
        }
    return found


def _points(heat: np.ndarray, mask: np.ndarray) -> bool:
    return bool(mask[np.unravel_index(int(heat.argmax()), heat.shape)])


def _box_overlap(heat: np.ndarray, box: np.ndarray) -> float:
    """Intersection over union of the box of a map with a true one; 0 where nothing is drawn."""
    drawn = box_of(heat)
    if drawn is None:
        return 0.0
    across = min(drawn[0] + drawn[2], box[0] + box[2]) - max(drawn[0], box[0])
    down = min(drawn[1] + drawn[3], box[1] + box[3]) - max(drawn[1], box[1])
    both = max(float(across), 0.0) * max(float(down), 0.0)
    return both / (drawn[2] * drawn[3] + float(box[2] * box[3]) - both)


def identity_errors(test: dict, features: np.ndarray, threshold: float) -> dict:
    """AUROC of pairs of different studies, first places, error rates at the threshold, beside raw pixels."""
    found = {}
    for name, scores in (
        ("network", features @ features.T),
        ("raw_pixels", pixel_scores(test["image"], test["image"])),
    ):
        same, other, first = pairs_of(scores, test["patient"])
        low, high = auc_interval(same, other[:: max(1, len(other) // 5000)], draws=200)
        found[name] = {
            "auroc": rounded(auc(same, other)),
            "interval": [rounded(low), rounded(high)],
            "first_place": first,
        }
        if name == "network":
            found[name] |= {"missed": rounded((same < threshold).mean()), "false": rounded((other >= threshold).mean())}
            found[name] |= {"pairs_same": len(same), "pairs_other": len(other)}
    shuffled = np.random.default_rng(0).permutation(test["patient"])
    same, other, first = pairs_of(features @ features.T, shuffled)
    return found | {"shuffled": {"auroc": rounded(auc(same, other)), "first_place": first}}


def pairs_of(scores: np.ndarray, patients: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Scores of pairs of one patient, of pairs of two patients, and how often the nearest study is one's own."""
    alike = patients[:, None] == patients[None]
    upper = np.triu(np.ones(alike.shape, bool), 1)
    masked = np.where(np.eye(len(scores), dtype=bool), -np.inf, scores)
    first = rounded((patients[masked.argmax(1)] == patients).mean())
    return scores[alike & upper], scores[~alike & upper], first


def organ_errors(test: dict, slope: float, offset: float) -> dict:
    """Dice of both organs and agreement of the ratio, which a healthy mean and a shuffled request are compared with."""
    drawn = find_organs(test["image"]) > DRAWN
    truth = test["mask"][:, :2]
    dice = 2 * (drawn & truth).sum((2, 3)) / np.maximum(drawn.sum((2, 3)) + truth.sum((2, 3)), 1)
    ratios = (raw_ratios(test["image"]) - offset) / slope
    lost = int(np.isnan(ratios).sum())
    ratios = np.where(np.isnan(ratios), np.nanmean(ratios), ratios)
    enlarged = test["ctr"] > ENLARGED
    return {
        "dice_lungs": rounded(dice[:, 0].mean()),
        "dice_heart": rounded(dice[:, 1].mean()),
        "ctr": conditioning(test["ctr"], ratios) | {"not_read": lost},
        "ctr_p95": rounded(np.quantile(np.abs(ratios - test["ctr"]), 0.95)),
        "ctr_mae_of_the_mean": rounded(np.abs(test["ctr"] - test["ctr"].mean()).mean()),
        "enlarged_auroc": rounded(auc(ratios[enlarged], ratios[~enlarged])),
    }


def make_report(folder: Path, cache: str | None = None) -> dict:
    """Scales from VAL, errors from TEST; writes and returns what `chest_instruments.json` holds."""
    trained, held, test = (instrument_cases(split, cache) for split in ("TRAIN", "VAL", "TEST"))
    held_scores = scores_of(raw_maps(held["image"]))
    scales: dict = {
        "findings": {kind: fit_logistic(held_scores[:, n], held["labels"][:, n]) for n, kind in enumerate(KINDS)}
    }
    raw = raw_ratios(held["image"])
    known = ~np.isnan(raw)
    slope, offset = (round(float(value), 5) for value in np.polyfit(held["ctr"][known], raw[known], 1))
    scales["ctr"] = {"slope": slope, "offset": offset}
    features = embed(held["image"])
    same, other, _ = pairs_of(features @ features.T, held["patient"])
    cuts = np.unique(same)
    missed = np.array([(same < cut).mean() for cut in cuts])
    false = np.array([(other >= cut).mean() for cut in cuts])
    scales["identity"] = {"threshold": round(float(cuts[np.abs(missed - false).argmin()]), 5)}
    maps = raw_maps(test["image"])
    report = {
        "command": "python scripts/train_chest_instruments.py all",
        "phantoms": {
            "patients": {name: len(np.unique(cases["patient"])) for name, cases in _named(trained, held, test)},
            "studies": {name: len(cases["patient"]) for name, cases in _named(trained, held, test)},
            "first": FIRST,
            "pools": [POOLS, PATIENTS, STUDIES],
        },
        "scales": scales,
        "findings": finding_errors(trained, test, scores_of(maps), enlarged(maps, SIZE), scales["findings"]),
        "organs": organ_errors(test, slope, offset),
        "identity": identity_errors(test, embed(test["image"]), scales["identity"]["threshold"]),
    }
    write_json(folder / "chest_instruments.json", report)
    chest_findings.instrument_errors.cache_clear()
    return report


def _named(trained: dict, held: dict, test: dict) -> list[tuple[str, dict]]:
    return [("TRAIN", trained), ("VAL", held), ("TEST", test)]
