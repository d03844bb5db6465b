"""Training of the brain instruments: regressors fitted on phantoms of known volumes, and their errors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage as ndi

from synthzoo.instruments.brain import histograms as brain_histograms
from synthzoo.instruments.brain import levels as brain_levels
from synthzoo.instruments.brain import regressor as brain_regressor
from synthzoo.instruments.brain import segmentation as brain_segmentation
from synthzoo.instruments.brain import volumes as brain_volumes
from synthzoo.instruments.brain.histograms import describe, place_prior
from synthzoo.instruments.brain.levels import describe_levels
from synthzoo.instruments.brain.phantoms import cut_blocks, instrument_cases
from synthzoo.io.files import write_json
from synthzoo.metrics.agreement import agreement

CONTRASTS = ("T1w", "T2w", "FLAIR", "PD")
PLACES_SEED, TRAINING_SEED, VALIDATION_SEED, TEST_SEED = 90_000, 50_000, 100_000, 200_000
# Age is the first of three, so that it can be freed of the other two's share; only age is read from that rule.
TARGETS = {"brain_volumes": brain_volumes.QUANTITIES, "brain_age": ("age", "ventricle_ml", "brain_ml")}
BLUR = 0.5  # voxels, of the blurred copies
KINDS: dict[str, Callable] = {
    "sharp": np.asarray,
    "blurred": lambda image: ndi.gaussian_filter(image, BLUR),
    "compressed": lambda image: np.clip(ndi.gaussian_filter(cut_blocks(image), BLUR), 0, None),
}


def make_places(subjects: int = 150, cache: str | None = None) -> np.ndarray:
    """Prior maps of the ventricles, from subjects that serve for nothing else; cached in `cache`."""
    path = Path(cache) / f"places-{subjects}.npy" if cache else None
    if path and path.is_file():
        return np.load(path)
    maps, masks = [], []
    for _, _, anatomy in instrument_cases(PLACES_SEED, subjects, (), False, independent=1.0):
        maps.append(anatomy.tissues[3])
        masks.append(anatomy.tissues.sum(0) > 0.3)
    places = place_prior(maps, masks)
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, places)
    return places


def make_table(
    first_seed: int, size: int, contrasts: Sequence[str], places: np.ndarray, training: bool, cache: str | None = None
) -> dict[str, np.ndarray]:
    """Features (size, K) by kind of image and instrument, and targets (size,) by name, of `size` subjects.

    Args:
        first_seed, size, contrasts: which subjects and images.
        places: from `make_places`.
        training: one degraded image each; else the `KINDS` of a clean image.
        cache: folder for finished tables.
    """
    path = Path(cache) / f"{first_seed}-{size}-{'-'.join(contrasts)}.npz" if cache else None
    if path and path.is_file():
        return dict(np.load(path))
    rows: dict[str, list] = {}
    for images, truth, _ in instrument_cases(first_seed, size, contrasts, training):
        for contrast, image in images.items():
            for kind, change in ({"degraded": np.asarray} if training else KINDS).items():
                changed = change(image)
                rows.setdefault(f"brain_volumes {contrast} {kind}", []).append(describe(changed, places, contrast))
                rows.setdefault(f"brain_age {contrast} {kind}", []).append(describe_levels(changed))
        for name in (*TARGETS["brain_volumes"], "age"):
            rows.setdefault(name, []).append(truth[name])
    table = {name: np.array(values) for name, values in rows.items()}
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, **table)
    return table


def targets_of(table: dict[str, np.ndarray], instrument: str) -> np.ndarray:
    """Targets (N, M) of an instrument."""
    return np.stack([table[name] for name in TARGETS[instrument]], 1)


def set_slopes_right(rule: dict, features: np.ndarray, targets: np.ndarray, jointly: bool = False) -> dict:
    """Undo the pull towards the mean: on these subjects measured against true has slope 1 and no offset.

        measured = A true + b  by least squares, so read A^-1 (measured - b)

    Args:
        rule: from `fit_rule`.
        features, targets: (N, K) and (N, M) of validation subjects.
        jointly: A is full, so that no reading follows another target at given own truth; else A is diagonal.
    """
    found, count = brain_regressor.apply_rule(features, rule), targets.shape[1]
    if jointly:
        line = np.linalg.lstsq(np.column_stack([targets, np.ones(len(targets))]), found, rcond=None)[0]
        slopes, offset = line[:-1].T, line[-1]
    else:
        lines = np.array([np.polyfit(targets[:, k], found[:, k], 1) for k in range(count)])
        slopes, offset = np.diag(lines[:, 0]), lines[:, 1]
    back = np.linalg.inv(slopes).T
    weights, mean = (rule["weights"] * rule["scale"]) @ back, (rule["mean"] - offset) @ back
    return rule | {"weights": weights / rule["scale"], "mean": mean}


def both_kinds(table: dict[str, np.ndarray], contrast: str, instrument: str) -> tuple[np.ndarray, np.ndarray]:
    """Features and targets of sharp images and their blurred copies."""
    targets = targets_of(table, instrument)
    features = [table[f"{instrument} {contrast} {kind}"] for kind in ("sharp", "blurred")]
    return np.concatenate(features), np.concatenate([targets, targets])


def errors_on(table: dict[str, np.ndarray], contrast: str, instrument: str, rule: dict) -> dict:
    """`agreement` of each target on every kind of image, with the largest error and the 95th percentile."""
    errors: dict[str, dict] = {}
    for kind in KINDS:
        found = brain_regressor.apply_rule(table[f"{instrument} {contrast} {kind}"], rule)
        errors[kind] = {}
        for k, name in enumerate(TARGETS[instrument]):
            miss = np.abs(found[:, k] - table[name])
            extremes = {"p95": round(float(np.quantile(miss, 0.95)), 4), "max": round(float(miss.max()), 4)}
            errors[kind][name] = agreement(table[name], found[:, k]) | extremes
    return errors


def leaks(table: dict[str, np.ndarray], contrast: str, rule: dict) -> dict[str, float]:
    """Correlation of the age rule's error on sharp images with ventricle and brain volume, at given age."""
    miss = brain_regressor.apply_rule(table[f"brain_age {contrast} sharp"], rule)[:, 0] - table["age"]
    line = np.stack([np.ones_like(miss), table["age"]], 1)
    rest = {name: table[name] for name in ("ventricle_ml", "brain_ml")} | {"miss": miss}
    rest = {name: value - line @ np.linalg.lstsq(line, value, rcond=None)[0] for name, value in rest.items()}
    return {name: round(float(np.corrcoef(rest["miss"], rest[name])[0, 1]), 4) for name in ("ventricle_ml", "brain_ml")}


def make_rules(groups: Sequence[tuple], folder: Path, cache: str | None = None) -> dict:
    """Fit both instruments for all contrasts and write them and their errors on test subjects.

    Args:
        groups: (contrasts, (training, validation, test subjects), landmarks) of each group of contrasts.
        folder: where the rules and `brain_instruments.json` go.
        cache: folder for tables of features, so that a fit can be repeated.

    Returns:
        what `brain_instruments.json` holds.
    """
    places = make_places(cache=cache)
    brain_regressor.save_rule({"places": places}, folder / "brain_places.pt")
    report: dict[str, Any] = {
        "command": "python scripts/train_instruments.py all",
        "grid": list(brain_segmentation.GRID),
        "spacing_mm": brain_segmentation.SPACING_MM,
        "features": {"network": "brain_segmentation, mean over space of the deepest layer", "length": 48},
        "blur_voxels": BLUR,
        "smoothing_voxels": {"brain_volumes": brain_histograms.SMOOTHING, "brain_age": brain_levels.SMOOTHING},
        "subjects": {},
        "brain_volumes": {},
        "brain_age": {},
        "readings": {"first_seed": TEST_SEED, "brain_volumes": {}, "brain_age": {}},
    }
    seeds = (TRAINING_SEED, VALIDATION_SEED, TEST_SEED)
    for contrasts, sizes, landmarks in groups:
        tables = [
            make_table(seed, size, contrasts, places, seed == TRAINING_SEED, cache)
            for seed, size in zip(seeds, sizes, strict=True)
        ]
        for contrast in contrasts:
            # Volumes come first: age is read from the levels and the volumes.
            report["subjects"][contrast] = dict(zip(("training", "validation", "test"), sizes, strict=True))
            for instrument in TARGETS:
                path = folder / f"{instrument}_{contrast}.pt"
                rule = make_rule(tables, contrast, instrument, landmarks, path)
                if instrument == "brain_volumes":
                    for table in tables:
                        add_volumes(table, contrast, rule)
                state_errors(report, contrast, instrument, rule, tables[2])
    save_report(report, folder / "brain_instruments.json")
    brain_regressor.load_rule.cache_clear()
    return report


def add_volumes(table: dict[str, np.ndarray], contrast: str, rule: dict) -> None:
    """Append to the features for age, of every kind of image, the volumes that the rule reads there."""
    for name in [name for name in table if name.startswith(f"brain_age {contrast} ")]:
        volumes = brain_regressor.apply_rule(table[name.replace("brain_age", "brain_volumes")], rule)
        table[name] = np.column_stack([table[name], volumes])


def make_rule(tables: Sequence[dict], contrast: str, instrument: str, landmarks: int, path: Path) -> dict:
    """Fit on the first table, set the slopes right on the second, write the file and read it again."""
    train, validation = tables[:2]
    features, targets = train[f"{instrument} {contrast} degraded"], targets_of(train, instrument)
    if instrument == "brain_age":
        rule = brain_regressor.fit_line(features, targets)
    else:
        rule = brain_regressor.fit_rule(features, targets, landmarks)
    rule = set_slopes_right(rule, *both_kinds(validation, contrast, instrument), jointly=instrument == "brain_age")
    brain_regressor.save_rule(rule, path)
    return brain_regressor.read_rule(path)


def state_errors(report: dict, contrast: str, instrument: str, rule: dict, test: dict) -> None:
    """Add to the report a regressor's errors on test subjects, and its readings of the first four."""
    errors = errors_on(test, contrast, instrument, rule)
    if instrument == "brain_age":
        errors = {kind: {"age": found["age"]} for kind, found in errors.items()}
        errors["r_of_error_with"] = leaks(test, contrast, rule)
    report[instrument][contrast] = errors
    first_few = brain_regressor.apply_rule(test[f"{instrument} {contrast} sharp"][:4], rule)
    report["readings"][instrument][contrast] = first_few.round(2).tolist()


def save_report(report: dict, path: Path) -> None:
    """Write the report and forget what was read of the old one."""
    write_json(path, report)
    brain_volumes.stated_errors.cache_clear()
