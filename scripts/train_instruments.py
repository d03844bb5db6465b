"""The brain instruments from nothing but seeds: python scripts/train_instruments.py all

Nets are trained on subjects of the training seeds, lines are fitted on the validation seeds (100000 onwards), errors
are measured on the test seeds (200000 onwards).
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import fire
import numpy as np
import torch

from synthzoo.data.brain_instruments import InstrumentPhantoms, make_test_set
from synthzoo.data.loader import SeededLoader
from synthzoo.metrics import brain_age, brain_segmentation, brain_volumes
from synthzoo.metrics.conditioning import agreement
from synthzoo.objectives.brain_instruments import AgeLoss, TissueLoss
from synthzoo.training import ObjectiveTrainer, cosine_schedule

VALIDATION_SEED, TEST_SEED = 100_000, 200_000
CONTRASTS = ("T1w", "T2w", "FLAIR", "PD")
WEIGHTS = brain_segmentation.WEIGHTS
torch.set_num_threads(1)  # the same sums in the same order on every machine


def train(
    name: str, iterations: int, subjects: int, batch_size: int, folder: str | Path, rate: float = 3e-3, seed: int = 0
) -> Path:
    """Train "brain_segmentation" or "brain_age" and store its averaged weights in half precision in `folder`."""
    torch.manual_seed(seed)
    network = brain_segmentation.TissueNet() if name == "brain_segmentation" else brain_age.AgeNet()
    if name == "brain_segmentation":
        objective, contrasts = TissueLoss(), {"T1w": 0.35, "T2w": 0.15, "FLAIR": 0.15, "PD": 0.15, "random": 0.2}
    else:
        objective, contrasts = AgeLoss(), {"T1w": 1.0}
    optimizer = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=1e-4)
    scheduler = cosine_schedule(optimizer, iterations, warmup=30, floor=0.01)
    path = Path(folder) / f"{name}.pt"
    ObjectiveTrainer(
        "cpu",
        1,
        SeededLoader(InstrumentPhantoms(subjects, contrasts), batch_size, seed=seed),
        network,
        [{"objective": objective, "optimizer": optimizer, "scheduler": scheduler}],
        epoch_length=iterations,
        seed=seed,
        ema_decay=0.98,
        checkpoint_every=100,
        save_to=path,
        save_half=True,
    ).run()
    brain_segmentation.load_instrument.cache_clear()
    return path


def calibrate_and_test(folder: str | Path, size: int = 60) -> dict:
    """Fit the lines on validation seeds, measure the errors on test seeds, write `brain_instruments.json`."""
    fitted = {name: ([], []) for name in (*brain_volumes.QUANTITIES, "age")}
    for contrast in CONTRASTS:
        images, truth = make_test_set(VALIDATION_SEED, size, contrast)
        raw = brain_volumes.raw_volumes(brain_segmentation.segment(images))
        if contrast == "T1w":
            raw["age"] = brain_age.raw_ages(images)
        for name, values in raw.items():
            fitted[name][0].append(values)
            fitted[name][1].append(truth[name])
    lines = {}
    for name, (found, asked) in fitted.items():
        slope, intercept = np.polyfit(np.concatenate(found), np.concatenate(asked), 1)
        lines[name] = {"slope": round(float(slope), 6), "intercept": round(float(intercept), 6)}
    age_line = lines.pop("age")
    report = {
        "command": "python scripts/train_instruments.py all",
        "grid": list(brain_segmentation.GRID),
        "spacing_mm": brain_segmentation.SPACING_MM,
        "calibrated_on": {"first_seed": VALIDATION_SEED, "subjects": size, "contrasts": list(CONTRASTS)},
        "tested_on": {"first_seed": TEST_SEED, "subjects": size},
        "features": {"network": "brain_segmentation, mean over space of the deepest layer", "length": 96},
        "volumes": {"unit": "mL", "calibration": lines, "errors": {}},
        "age": {"unit": "years", "contrast": "T1w", "calibration": age_line},
    }
    path = Path(folder) / "brain_instruments.json"
    save_report(report, path)
    for contrast in CONTRASTS:
        images, truth = make_test_set(TEST_SEED, size, contrast)
        found = brain_volumes.measure_brains(images)
        report["volumes"]["errors"][contrast] = {name: agreement(truth[name], found[name]) for name in found}
        if contrast == "T1w":
            ages = brain_age.measure_ages(images)
            report["age"]["errors"] = agreement(truth["age"], ages)
            report["age"]["r_of_error_with"] = {
                name: round(float(np.corrcoef(ages - truth["age"], truth[name])[0, 1]), 4)
                for name in ("ventricle_ml", "brain_ml")
            }
    save_report(report, path)
    return report


def save_report(report: dict, path: Path) -> None:
    """Write the report and forget what was read of the old one."""
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(report, indent=2) + "\n")
    os.replace(temporary, path)
    brain_volumes.stated_errors.cache_clear()


def segmentation(iterations: int = 1200, subjects: int = 500, batch_size: int = 2, folder: str = str(WEIGHTS)) -> None:
    """Train the tissue network."""
    train("brain_segmentation", iterations, subjects, batch_size, folder)


def age(iterations: int = 1200, subjects: int = 1000, batch_size: int = 4, folder: str = str(WEIGHTS)) -> None:
    """Train the age network."""
    train("brain_age", iterations, subjects, batch_size, folder)


def calibrate(size: int = 60, folder: str = str(WEIGHTS)) -> None:
    """Fit the lines and state the errors."""
    print(json.dumps(calibrate_and_test(folder, size), indent=2))


def everything() -> None:
    """Train both networks, fit the lines, state the errors."""
    segmentation()
    age()
    calibrate()


if __name__ == "__main__":
    fire.Fire({"segmentation": segmentation, "age": age, "calibrate": calibrate, "all": everything})
