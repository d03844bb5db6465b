"""How well findings of TEST patients are told and pointed at, beside raw pixels, a position prior, shuffled labels."""

from __future__ import annotations

import numpy as np
from sklearn.linear_model import LogisticRegression

from synthzoo.instruments.chest.findings import enlarged, probabilities, raw_findings
from synthzoo.instruments.chest.phantoms import SIZE
from synthzoo.instruments.weights import rounded
from synthzoo.metrics.reidentification import auc, auc_interval, pixel_scores
from synthzoo.phantoms.chest.findings import KINDS
from synthzoo.phantoms.chest.truth import GRADES

NEIGHBOURS = 15  # of the control that looks at raw pixels
SHUFFLES = 20


def fit_scales(cases: dict) -> dict[str, dict[str, float]]:
    """Slope and offset by kind that turn the network's logits into log odds, fitted on cases of `instrument_cases`."""
    logits, found = raw_findings(cases["image"])[1], {}
    for n, kind in enumerate(KINDS):
        fitted = LogisticRegression(C=1.0).fit(logits[:, n, None], cases["labels"][:, n])
        found[kind] = {"slope": round(float(fitted.coef_[0, 0]), 5), "offset": round(float(fitted.intercept_[0]), 5)}
    return found


def finding_errors(trained: dict, test: dict, scales: dict[str, dict[str, float]]) -> dict[str, dict]:
    """By kind: AUROC with interval and by severity, Brier score, pointing game, and their controls.

    The interval is a bootstrap over studies. The pointing game is the share of studies with the finding in whose mask
    the highest pixel of the map lies. Controls: the share of the finding among the nearest TRAIN studies by correlation
    of raw pixels, shuffled labels, saying the TRAIN share, pointing where TRAIN masks overlap most, and at random.

    Args:
        trained, test: cases of `instrument_cases`.
        scales: see `fit_scales`.
    """
    raw_maps, logits = raw_findings(test["image"])
    maps, said = enlarged(raw_maps, SIZE), probabilities(logits, scales)
    nearest = np.argsort(-pixel_scores(test["image"], trained["image"]), 1)[:, :NEIGHBOURS]
    rng, found = np.random.default_rng(0), {}
    for n, kind in enumerate(KINDS):
        labels, masks = test["labels"][:, n], test["mask"][:, 2 + n]
        shown = labels > 0
        scores = logits[:, n]
        low, high = auc_interval(scores[shown], scores[~shown])
        shuffled = [auc(*halves(scores, rng.permutation(labels))) for _ in range(SHUFFLES)]
        prior = trained["mask"][trained["labels"][:, n] > 0, 2 + n].mean(0)
        share = trained["labels"][:, n].mean()
        found[kind] = {
            "auroc": rounded(auc(*halves(scores, labels))),
            "interval": [rounded(low), rounded(high)],
            "by_severity": by_severity(scores, test["severity"][:, n]),
            "brier": rounded(((said[kind] - labels) ** 2).mean()),
            "pointing": rounded(np.mean([points(heat, mask) for heat, mask in zip(maps[shown, n], masks[shown])])),
            "positives": int(shown.sum()),
            "negatives": int((~shown).sum()),
            "controls": {
                "auroc_raw_pixels": rounded(auc(*halves(trained["labels"][nearest, n].mean(1), labels))),
                "auroc_shuffled": rounded(np.mean(shuffled)),
                "brier_share": rounded(((share - labels) ** 2).mean()),
                "pointing_prior": rounded(np.mean([points(prior, mask) for mask in masks[shown]])),
                "pointing_chance": rounded(masks[shown].mean()),
            },
        }
    return found


def halves(scores: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scores (N,) of studies with a finding, and of those without."""
    return scores[labels > 0], scores[labels == 0]


def by_severity(scores: np.ndarray, severity: np.ndarray) -> dict[str, float]:
    """AUROC of each severity (N,) that occurs, against studies without the finding; none for a device."""
    grades = {name: scores[severity == grade] for grade, name in enumerate(GRADES, 1)}
    if severity.max() <= 1:
        return {}
    return {name: rounded(auc(one, scores[severity == 0])) for name, one in grades.items() if len(one)}


def points(heat: np.ndarray, mask: np.ndarray) -> bool:
    """Whether the highest pixel of a map (S, S) lies within a mask (S, S)."""
    return bool(mask[np.unravel_index(int(heat.argmax()), heat.shape)])
