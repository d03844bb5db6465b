"""Scales and stated errors of the chest instruments, with controls: set right on VAL, measured on TEST patients."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from synthzoo.instruments.chest.finding_errors import finding_errors, fit_scales, rounded
from synthzoo.instruments.chest.heart import DRAWN, find_organs, raw_ratios
from synthzoo.instruments.chest.identity import embed
from synthzoo.instruments.chest.networks import instrument_errors
from synthzoo.instruments.chest.phantoms import FIRST, PATIENTS, STUDIES, instrument_cases
from synthzoo.io.files import write_json
from synthzoo.metrics.agreement import conditioning
from synthzoo.metrics.reidentification import auc, auc_interval, pixel_scores
from synthzoo.phantoms.chest.truth import ENLARGED


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
    cases = {split: instrument_cases(split, cache) for split in ("TRAIN", "VAL", "TEST")}
    held, test = cases["VAL"], cases["TEST"]
    scales: dict = {"findings": fit_scales(held)}
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
    report = {
        "command": "python scripts/train_chest_instruments.py all",
        "phantoms": {
            "patients": {split: len(np.unique(one["patient"])) for split, one in cases.items()},
            "studies": {split: len(one["patient"]) for split, one in cases.items()},
            "pool": {"patients": PATIENTS, "studies": STUDIES, "first": FIRST},
        },
        "scales": scales,
        "findings": finding_errors(cases["TRAIN"], test, scales["findings"]),
        "organs": organ_errors(test, slope, offset),
        "identity": identity_errors(test, embed(test["image"]), scales["identity"]["threshold"]),
    }
    write_json(folder / "chest_instruments.json", report)
    instrument_errors.cache_clear()
    return report
