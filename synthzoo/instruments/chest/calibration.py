"""Scales and stated errors of the chest instruments, with controls: set right on VAL, measured on TEST patients."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from synthzoo.instruments.chest.finding_errors import finding_errors, fit_scales
from synthzoo.instruments.chest.heart import DRAWN, find_organs, raw_ratios
from synthzoo.instruments.chest.identity import embed
from synthzoo.instruments.chest.networks import instrument_errors
from synthzoo.instruments.chest.phantoms import FIRST, PATIENTS, STUDIES, instrument_cases
from synthzoo.instruments.identities import equal_error_threshold, identity_errors
from synthzoo.instruments.weights import rounded
from synthzoo.io.files import write_json
from synthzoo.metrics.agreement import conditioning
from synthzoo.metrics.reidentification import auc
from synthzoo.phantoms.chest.truth import ENLARGED


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
    scales["identity"] = {"threshold": equal_error_threshold(features, held["patient"])}
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
        "identity": identity_errors(
            test["image"], test["patient"], embed(test["image"]), scales["identity"]["threshold"]
        ),
    }
    write_json(folder / "chest_instruments.json", report)
    instrument_errors.cache_clear()
    return report
